"""Ways through the latent space: the knob and its evidence, traversals, cells with the cycle held still."""
