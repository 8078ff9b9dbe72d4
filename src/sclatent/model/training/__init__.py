"""How a model is trained: the loop, its schedule, where it starts, what it leaves behind."""
