"""The kinds that a model can be made of, and which go together."""
