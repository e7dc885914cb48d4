"""Trained flows as windows of the solver: in noise levels, and PeRFlow."""
