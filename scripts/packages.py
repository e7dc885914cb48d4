"""pip, with a bar for what it downloads and without its chatter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

COMMAND = ("-m", "pip")
RAW_PROGRESS = (24, 1)  # the first pip that says how far it is in a form for programs
BAR = 30  # characters


def pip(python: Path, action: str, *words: str) -> int:
    """pip's exit code; its errors go to stderr, and in a terminal there is a bar for each larger download."""
    command = [str(python), *COMMAND, action, "--disable-pip-version-check", *words]
    if not (sys.stdout.isatty() and version(python) >= RAW_PROGRESS):
        return subprocess.run([*command, "-qq"], stdout=subprocess.DEVNULL).returncode
    with subprocess.Popen([*command, "--progress-bar", "raw"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in bars(process.stdout):
            print(f"\r    {line}", end="", flush=True)
    print("\r" + " " * (BAR + 60), end="\r", flush=True)
    return process.returncode


def version(python: Path) -> tuple[int, ...]:
    """pip's, its first two numbers."""
    said = subprocess.run([str(python), *COMMAND, "--version"], capture_output=True, text=True).stdout.split()
    return tuple(int(number) for number in said[1].split(".")[:2]) if len(said) > 1 else (0,)


def bars(lines: Iterable[str]) -> Iterable[str]:
    """What to show for what pip says: a bar of the file that it downloads, for each change that can be seen."""
    name, shown = "", -1
    for line in lines:
        words = line.split()
        if words[:1] == ["Downloading"]:
            name, shown = words[1].rpartition("/")[2][:40], -1
        elif words[:1] == ["Progress"] and words[2:3] == ["of"] and int(words[3]):
            done, total = int(words[1]), int(words[3])
            if (full := BAR * done // total) != shown:
                shown = full
                yield f"[{'=' * full}{' ' * (BAR - full)}] {total / 1e6:6.0f} MB  {name:40}"
