"""The modules of benchmarks/."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from .places import ROOT


def benchmark(name: str) -> ModuleType:
    """One of them.  They are scripts, which find each other and the pack by `sys.path`: it is put back afterwards, for
    some put the repository in front, where the host's `nodes` must be found."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in ("demo", "benchmarks"):
            patch.syspath_prepend(ROOT / folder)
        return importlib.import_module(name)
