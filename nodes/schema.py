"""What newer hosts' schemas have and ComfyUI 0.3.75's has not; there, nothing of it is said."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

from comfy_api.latest import io

ADVANCED: dict[str, Any] = {"advanced": True} if "advanced" in inspect.signature(io.Int.Input).parameters else {}
"""For an input that few need: the editor folds it away."""

_HAS_ALIASES = "search_aliases" in {field.name for field in fields(io.Schema)}


def search_aliases(*words: str) -> dict[str, Any]:
    """For a schema: words by which the editor's search finds the node, beside those of its name and of the pack's."""
    return {"search_aliases": ["rectifid", *words]} if _HAS_ALIASES else {}
