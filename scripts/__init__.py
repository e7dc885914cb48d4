"""What stands behind `run.py`: the environment, a real ComfyUI server, and the three commands."""
