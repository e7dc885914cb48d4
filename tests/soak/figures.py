"""What a server's process takes, read from outside, and whether it grows."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil

PACKAGES = ["torch", "numpy", "onnx", "onnxruntime", "onnx2torch", "safetensors", "transformers"]


@dataclass(frozen=True)
class Point:
    """After so many prompts.

    megabytes: resident; files: open descriptors (handles on Windows); temporary: files in the system's temporary
    folder, and partly written ones in the models' folder; models: that the host holds as loaded.
    """

    prompts: int
    seconds: float
    megabytes: float
    files: int
    threads: int
    temporary: int
    models: int


def measured(process: psutil.Process, base: Path, prompts: int, seconds: float, models: int) -> Point:
    with process.oneshot():
        files = process.num_handles() if os.name == "nt" else process.num_fds()
        temporary = sum(1 for _ in (base / "tmp").rglob("*")) + sum(1 for _ in (base / "models").rglob("*.part"))
        rss = process.memory_info().rss / 2**20
        return Point(prompts, round(seconds, 1), round(rss, 1), files, process.num_threads(), temporary, models)


def slope(points: Sequence[Point], measure: str) -> float:
    """Of a measure in 100 prompts, by least squares."""
    values = [asdict(point)[measure] for point in points]
    return 100 * float(np.polyfit([point.prompts for point in points], values, 1)[0])


def machine() -> dict[str, str | int]:
    """What the figures belong to."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    if Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def commit(root: Path) -> str:
    """Of the pack; "" in a folder without git."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True)
    return done.stdout.strip()


def temporary_folder_of(base: Path) -> dict[str, str]:
    """Environment variables that give a process a temporary folder of its own, which can be counted."""
    return dict.fromkeys(["TMPDIR", "TEMP", "TMP"], str(base / "tmp"))
