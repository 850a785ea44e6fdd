"""The shared latent space of end-effector actions: encoders, decoders, their training and their measures."""
