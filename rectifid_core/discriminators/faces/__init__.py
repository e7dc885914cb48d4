"""Faces, by packs of ONNX files in the layout of insightface."""
