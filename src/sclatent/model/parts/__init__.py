"""What a model is made of: encoder, latent, decoders, likelihoods."""
