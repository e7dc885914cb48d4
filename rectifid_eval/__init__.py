"""The paper's protocol over many pictures: people x prompts x seeds x methods, on any number of ComfyUI servers.

No part of the node pack: ComfyUI never loads it, and it has an extra of its own in pyproject.toml.  docs/evaluation.md
says how to use it.
"""
