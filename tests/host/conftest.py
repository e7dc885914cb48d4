"""The pack inside a real host, in this process and on the CPU.  COMFYUI_PATH names the host."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACK = "rectifid_under_test"  # the host makes the pack's name from its folder


def load_host_and_pack(host: Path) -> None:
    # the host's `nodes`, not the pack's
    sys.path[:] = [str(host), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    from comfy.cli_args import args

    args.cpu = True
    import utils.extra_config  # noqa: F401  as main.py does, before nodes.py hides this package behind comfy/utils.py

    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py")
    sys.modules[PACK] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[PACK])


if os.environ.get("COMFYUI_PATH"):
    load_host_and_pack(Path(os.environ["COMFYUI_PATH"]).resolve())
else:
    collect_ignore_glob = ["test_*.py"]
