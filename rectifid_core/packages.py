"""Python packages that not every installation has whole: imported where they are first used, and named if they fail."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing(requirement: str, purpose: str) -> Iterator[None]:
    """``with importing("onnx>=1.15", "ONNX files"): import onnx``; ImportError with advice where that fails.

    A package that is there and broken raises anything, not only ImportError: OSError for a library that is missing,
    AttributeError for one that was built for another NumPy, TypeError for another protobuf.
    """
    try:
        yield
    except Exception as error:
        raise ImportError(
            f"{purpose} need the Python package {requirement.split('>')[0].split('=')[0]}, which cannot be imported "
            f'({type(error).__name__}: {error}). Install it with "{sys.executable}" -m pip install "{requirement}" and '
            "restart ComfyUI"
        ) from error
