"""The page on which one turns the knob: one HTML file that needs nothing else."""
