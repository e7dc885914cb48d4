"""The long form, see `scripts/soak.py`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from helpers.servers import write_base

from scripts.comfy_server import serving
from scripts.environment import ROOT

from .figures import commit, machine, slope, temporary_folder_of
from .soak import EVERY, Soak, host_version, soak

RESULT = ROOT / "benchmarks" / "results" / "soak.json"
WARM_UP = 100  # prompts that do not count for a slope, or a fifth of a shorter soak
MEASURES = ["megabytes", "files", "threads", "temporary", "models"]


def main(arguments: list[str]) -> int:
    """Run it, write the figures, and return 1 where something did not end as it was to."""
    parser = argparse.ArgumentParser(prog="python -m scripts.soak", description=__doc__)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end after so many, whatever was run")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of prompts")
    parser.add_argument("--to", type=Path, default=RESULT, help="the JSON file with the figures")
    parser.add_argument("--forget", action="store_true", help="clear the host's history after every ten prompts")
    chosen = parser.parse_args(arguments)
    end = time.monotonic() + 60 * chosen.minutes
    result = Soak()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        base = write_base(Path(folder))
        os.environ |= temporary_folder_of(base)
        with serving(base, base / "output") as server:
            facts = {**machine(), "comfyui": host_version(server), "pack": commit(ROOT), "seed": chosen.seed}
            facts["history"] = "cleared after every ten" if chosen.forget else "kept, as the host does"

            def told(so_far: Soak) -> None:
                nonlocal result
                result = so_far
                write(chosen.to, facts, so_far)
                if time.monotonic() > end:
                    raise KeyboardInterrupt

            try:
                soak(server, base, chosen.prompts, chosen.seed, told, chosen.forget)
            except KeyboardInterrupt:
                print("ended before its time")
    print(json.dumps(summary(result), indent=1))
    return 1 if result.wrong or len(result.plain) != 1 else 0


def summary(result: Soak) -> dict:
    after = max(min(WARM_UP, result.points[-1].prompts // 5), EVERY)
    warm = [point for point in result.points if point.prompts >= after]
    if len(warm) < 3:
        return {"prompts": result.points[-1].prompts}
    return {
        "prompts": result.points[-1].prompts,
        "minutes": round(result.points[-1].seconds / 60, 1),
        "warm-up": after,
        "in 100 prompts": {measure: round(slope(warm, measure), 3) for measure in MEASURES},
        "range": {
            measure: [min(values), max(values)]
            for measure in MEASURES
            if (values := [getattr(point, measure) for point in warm])
        },
    }


def write(file: Path, facts: dict, result: Soak) -> None:
    content = {"machine": facts, "summary": summary(result), **result.figures()}
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()]
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
