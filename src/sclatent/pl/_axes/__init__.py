"""Figures of the axes: the heatmap of all, and a card for each."""
