"""A guided run: the sampler, and what its user sees of it."""
