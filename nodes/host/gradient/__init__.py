"""The gradient through the host's MODEL and VAE, and the memory that it takes."""
