"""The latent axes: their names, their genes, their stability over seeds."""
