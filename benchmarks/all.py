"""Every table of this folder, one after the other.

    COMFYUI_PATH=... python benchmarks/all.py --quick    # each with few questions, to output/benchmarks: 20 minutes
    COMFYUI_PATH=... python benchmarks/all.py --full     # the committed figures: many hours; most resume row by row

--quick shows that everything runs and what a table looks like; its numbers mean nothing.  Two scripts run at a time,
each on one core, and what one prints goes to NAME.log beside the results.  Left out: discriminators.py, which wants a
face pack, and approximations.py, which wants a decoder that small_decoder.py trains.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import QUICK, RESULTS

HERE = Path(__file__).resolve().parent
SCRIPTS: dict[str, list[str]] = {  # and what makes it quick; the longest first
    "rivals": ["--quick"],
    "real_sizes": ["--model", "sd15", "--count"],
    "identity": ["--n", "4", "--ablation-n", "1", "--iterations", "7"],
    "subjects": ["--quick"],
    "rivals_two": ["--quick"],
    "few_steps": ["--quick"],
    "compiled": ["--repeats", "1"],
    "universal": ["--quick"],
    "sweep": ["--quick"],
    "straight": ["--quick"],
    "two_people": ["--n", "1"],
    "published": ["--n", "1", "--repeats", "1"],
    "rules": ["--n", "1", "--convergence-n", "1", "--seconds", "0.3"],
    "growth": [],
    "floor": ["--repeats", "1"],
    "memory": [],
    "scale": ["--n", "1"],
}


def run(name: str, quick: bool) -> tuple[str, int, float]:
    """The script, its exit code, and the seconds that it took."""
    folder = QUICK if quick else RESULTS
    settings = {"OMP_NUM_THREADS": "1", "RECTIFID_RESULTS": str(folder)}
    start = time.monotonic()
    with (QUICK / f"{name}.log").open("w") as log:
        command = [sys.executable, str(HERE / f"{name}.py"), *(SCRIPTS[name] if quick else [])]
        code = subprocess.run(command, env={**os.environ, **settings}, stdout=log, stderr=log, check=False).returncode
    return name, code, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--quick", action="store_true")
    which.add_argument("--full", action="store_true")
    parser.add_argument("--only", nargs="*", choices=SCRIPTS)
    arguments = parser.parse_args()
    if arguments.quick:
        shutil.rmtree(QUICK, ignore_errors=True)
    QUICK.mkdir(parents=True, exist_ok=True)
    failed, start = [], time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        for name, code, seconds in pool.map(lambda name: run(name, arguments.quick), arguments.only or SCRIPTS):
            print(f"{name}: {seconds:.0f} s" + (f", failed, see {QUICK / name}.log" if code else ""), flush=True)
            failed += [name] * bool(code)
    print(f"{(time.monotonic() - start) / 60:.1f} minutes")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
