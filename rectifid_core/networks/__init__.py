"""Files -> frozen torch networks."""
