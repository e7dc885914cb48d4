"""Trained flows as windows."""
