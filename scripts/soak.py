"""A thousand mixed prompts on one ComfyUI server; writes what it took into benchmarks/results/soak.json.

    python -m scripts.soak --prompts 1000
    python -m scripts.soak --minutes 20 --to /tmp/soak.json

Good, bad and cancelled prompts and such as run out of memory, and between every ten a plain KSampler whose picture must
not change.  What runs is in tests/soak; tests/server runs a short one.
"""

from __future__ import annotations

import os
import subprocess
import sys

from .environment import ROOT


def main(arguments: list[str]) -> int:
    """Run it in tests/, as the helpers there: a package `tests` among those installed would go before our folder."""
    command = [sys.executable, "-m", "soak", *arguments]
    return subprocess.run(command, cwd=ROOT / "tests", env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
