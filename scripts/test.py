"""`run.py test`: pytest over each folder of tests, each in its own process, and one closing line for all.

The processes are separate because ComfyUI's `nodes.py` and the pack's `nodes/` cannot be imported side by side.  Where
there are several cores, the files of a folder are divided among some processes of pytest-xdist; `-n 0` asks for one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from .environment import ROOT

# each suite, and the most processes among which it is divided: one of tests/host takes up to 2 GB, and one of
# tests/server has a server and a browser of its own
SUITES = {"tests/core": 4, "tests/host": 4, "tests/server": 2, "tests/packs": 1, "tests/eval": 1}
NO_TESTS_COLLECTED = 5


def run_suite(suite: str, arguments: list[str]) -> Counter[str]:
    """Run one folder of tests and count its outcomes; a run that broke off counts as a failure."""
    print(f"\n== {suite}", flush=True)
    workers = min(os.cpu_count() or 1, SUITES[suite])
    divided = ["-n", str(workers), "--dist", "loadfile"] if workers > 1 else []
    # one thread for each worker, so that they do not contend for the cores
    threads = {"OMP_NUM_THREADS": "1"} if divided else {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", suite, f"--junitxml={report}", *divided, *arguments]
        code = subprocess.run(command, cwd=ROOT, env={**threads, **os.environ}).returncode
        counts = count(report) if report.is_file() else Counter()
    if code not in (0, NO_TESTS_COLLECTED) and not counts["failed"]:
        counts["failed"] += 1
    return counts


def count(report: Path) -> Counter[str]:
    """The outcomes in a JUnit report: passed, failed, skipped."""
    counts: Counter[str] = Counter()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        counts.update(passed=tests - failed - skipped, failed=failed, skipped=skipped)
    return counts


def main(arguments: list[str]) -> int:
    """Run every suite and return 1 where a test failed."""
    total = sum((run_suite(suite, arguments) for suite in SUITES), Counter())
    print(f"\n{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
