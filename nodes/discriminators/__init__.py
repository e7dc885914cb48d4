"""Shelf RectifID/discriminators: the networks that recognise."""
