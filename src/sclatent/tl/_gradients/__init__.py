"""How noisy gradients are, on the user's own cells, and where the noise comes from."""
