"""Cells drawn from a trained model, judged against real ones, and cells as if they had been measured otherwise."""
