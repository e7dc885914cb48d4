"""Where files of this repository lie, and data that may lie beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("RECTIFID_SHARED", ROOT.parent / "shared")) / "data"
WEIGHTS = ROOT / "demo" / "weights"
needs_weights = pytest.mark.skipif(
    not all((WEIGHTS / name).exists() for name in ("flow.safetensors", "recogniser_judge.onnx")),
    reason="demo/weights is not in this clone",
)


def shared(name: str) -> Path:
    """A file of the shared data; without it, the test is skipped."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {path.parent}; RECTIFID_SHARED names another folder")
    return path
