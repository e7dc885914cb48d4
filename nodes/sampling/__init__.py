"""Shelf RectifID/sampling: the samplers, and what stands before and after them."""
