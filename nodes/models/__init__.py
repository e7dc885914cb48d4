"""Shelf RectifID/models: MODELs read as the flows that they were trained to be."""
