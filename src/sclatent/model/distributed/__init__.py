"""One training in several processes: which cells are whose, what they tell each other, and how they are started."""
