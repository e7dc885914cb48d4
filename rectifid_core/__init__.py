"""RectifID: the method, free of any host (no ComfyUI import below this folder)."""
