"""The latent diffusion policy: observations in, chunks of latent actions out."""
