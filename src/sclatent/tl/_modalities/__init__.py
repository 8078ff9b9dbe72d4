"""What is asked of a model of several modalities: how well it knows each, and one from the other."""
