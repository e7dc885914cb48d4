"""Running the host's nodes, which are of an older and of a newer kind; newer hosts have more of the newer."""

from __future__ import annotations

from typing import Any


def outputs_of(node: Any, **inputs: Any) -> tuple:
    """What a node class of the host's, or of another pack's, makes of these inputs."""
    if hasattr(node, "define_schema"):
        return node.execute(**inputs).result
    made = node()
    return getattr(made, made.FUNCTION)(**inputs)
