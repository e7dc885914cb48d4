"""The host and the pack in this process.  COMFYUI_PATH names the host."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from .places import ROOT

PACK = "rectifid_under_test"  # the host makes the pack's name from its folder
HOST = os.environ.get("COMFYUI_PATH")


def has_host() -> bool:
    return bool(HOST) and (Path(HOST) / "comfy").is_dir()


def load_host(folder: str) -> None:
    """The host's modules, on the CPU.

    The one place that changes `sys.path`: a host's modules are top-level ones, which it finds by its folder being the
    first entry, and its `nodes` must be found where the repository has a folder `nodes/`, which so leaves the path.
    """
    sys.path[:] = [str(Path(folder).resolve()), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    from comfy.cli_args import args

    args.cpu = True


def load_host_and_pack() -> None:
    """The host, and the pack as one of its custom nodes."""
    load_host(HOST)
    import utils.extra_config  # noqa: F401  as main.py does, before nodes.py hides this package behind comfy/utils.py

    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py")
    sys.modules[PACK] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[PACK])
