"""What the latent axes go with: their names, their genes, how they hold over seeds."""
