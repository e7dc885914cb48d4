"""`run.py check`: lint, format, types and security, by pinned versions of the tools; says all that is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from .environment import BASE, ROOT

PYTHON = [sys.executable, "-m"]
ZIZMOR = str(Path(sysconfig.get_path("scripts"), "zizmor"))  # which is no module
CHECKS = {
    "lint": [*PYTHON, "ruff", "check", "."],
    "format": [*PYTHON, "ruff", "format", "--check", "."],
    "types": [*PYTHON, "basedpyright", "--pythonpath", sys.executable],
    "security": [*PYTHON, "bandit", "-q", "-c", "pyproject.toml", "-r", "nodes", "rectifid_core", "scripts", "run.py"],
    "workflows": [ZIZMOR, "--quiet", "--offline", "--no-progress", ".github/workflows"],
}


def main() -> int:
    """Run every check and return 1 where one failed."""
    # The type checker looks for ComfyUI where this interpreter would import it from.
    environment = os.environ | {"PYTHONPATH": os.environ.get("COMFYUI_PATH", str(BASE))}
    failed = [name for name, command in CHECKS.items() if subprocess.run(command, cwd=ROOT, env=environment).returncode]
    print(f"{', '.join(CHECKS)}: {'failed: ' + ', '.join(failed) if failed else 'clean'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
