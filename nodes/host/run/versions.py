"""What a picture depends on beside its settings, for the report of a run."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from comfyui_version import __version__ as comfyui_version


@cache
def pack_version() -> str:
    """The pack's own, of the file that its releases are made by; "unknown" without it."""
    file = Path(__file__).parents[3] / "pyproject.toml"
    found = re.search(r'^version = "(.+)"$', file.read_text(encoding="utf-8"), re.MULTILINE) if file.is_file() else None
    return found[1] if found else "unknown"


def versions() -> dict[str, Any]:
    """Versions by name, and how many threads compute on the CPU: another number rounds otherwise."""
    return {
        "versions": {
            "rectifid": pack_version(),
            "comfyui": comfyui_version,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "threads": torch.get_num_threads(),
    }
