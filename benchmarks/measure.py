"""Time and memory, measured fairly: contestants take turns in one process, and memory is counted, not sampled.  And
where results go."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

HERE = Path(__file__).resolve().parent
RESULTS = Path(os.environ.get("RECTIFID_RESULTS", HERE / "results"))  # of what is committed, unless it says otherwise
QUICK = HERE.parent / "output" / "benchmarks"  # of a quick look, whose numbers mean nothing
MATRICES = (512, 1024, 2048, 4096, 8192)  # their sides


def save(results: dict, path: Path) -> None:
    """As JSON, with the day."""
    results = {**results, "date": date.today().isoformat()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def rows_of(path: Path, anew: bool) -> list[dict]:
    """The rows that are measured already; none where all are to be measured anew."""
    return [] if anew or not path.exists() else json.loads(path.read_text())["rows"]


def seconds(runs: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, list[float]]:
    """The time of each run, ``repeats`` times by turns, after one that does not count."""
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            _finish()
            times[name].append(time.perf_counter() - start)
    return times


def ratio(times: Mapping[str, list[float]], name: str, reference: str) -> dict[str, float]:
    """Of two runs' times, each pair from one turn: the median and the range."""
    ratios = [a / b for a, b in zip(times[name], times[reference], strict=True)]
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)}


def peak_bytes(run: Callable[[], object]) -> int:
    """The most memory that tensors which ``run`` makes take at one time; what was there before does not count."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def throughput(device: str, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> float:
    """FLOPs per second of the quickest of several square matrix products."""
    best = 0.0
    for side in MATRICES:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        for _ in range(5):
            _finish()
            start = clock()
            a @ b
            _finish()
            best = max(best, 2 * side**3 / (clock() - start))
        if 2 * side**3 > 0.1 * best:  # seconds: the next takes eight times as long
            break
    return best


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
