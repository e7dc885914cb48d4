"""`run.py check`: lint and format, by the pinned version of the tool; says all that is wrong, not only the first."""

from __future__ import annotations

import subprocess
import sys

from .environment import ROOT

PYTHON = [sys.executable, "-m"]
CHECKS = {
    "lint": [*PYTHON, "ruff", "check", "."],
    "format": [*PYTHON, "ruff", "format", "--check", "."],
}


def main() -> int:
    """Run every check and return 1 where one failed."""
    failed = [name for name, command in CHECKS.items() if subprocess.run(command, cwd=ROOT).returncode]
    print(f"{', '.join(CHECKS)}: {'failed: ' + ', '.join(failed) if failed else 'clean'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
