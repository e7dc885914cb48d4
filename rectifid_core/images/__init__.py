"""Pixels, boxes and masks; no networks."""
