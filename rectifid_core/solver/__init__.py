"""The anchored fixed-point iteration; it knows no pictures."""
