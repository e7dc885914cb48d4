"""Shelf RectifID/identity: who or what the pictures show."""
