"""The phase of every cell, from its counts."""
