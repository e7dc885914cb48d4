"""Shelf RectifID/guidance: what a picture is drawn to."""
