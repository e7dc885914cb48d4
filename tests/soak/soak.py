"""Runs the jobs on a server and looks at it after every ten."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from scripts.comfy_server import ComfyServer, Event, Interrupted, ServerError

from .figures import Point, measured
from .prompts import SAMPLER, Job, mixed, plain

EVERY = 10  # prompts, after which the plain one is run and the process measured
RAW = (
    "Traceback",
    "object has no attribute",
    "KeyError",
    "IndexError",
    "AssertionError",
    "NoneType",
    "unexpected keyword",
)


@dataclass
class Soak:
    """What came of it.

    outcomes: how often each kind ended how; wrong: jobs that ended otherwise than they were to; plain: the digests of
    the plain job's picture; points: of the process, after every ten prompts.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    plain: Counter[str] = field(default_factory=Counter)
    points: list[Point] = field(default_factory=list)

    def figures(self) -> dict:
        return {
            "outcomes": dict(sorted(self.outcomes.items())),
            "wrong": self.wrong,
            "plain pictures": dict(self.plain),
            "points": [list(asdict(point).values()) for point in self.points],
            "columns": list(asdict(self.points[0])) if self.points else [],
        }


def soak(
    server: ComfyServer,
    base: Path,
    prompts: int,
    seed: int = 0,
    told: Callable[[Soak], None] = lambda _: None,
    forget: bool = False,
) -> Soak:
    """Run so many jobs, one after the other; ``told`` is called after every ten.

    forget: has the host clear its history after every ten, of which it keeps 10,000 prompts with their outputs.
    """
    result, process, started = Soak(), psutil.Process(server.process.pid), time.monotonic()
    jobs = mixed(seed)
    for number in range(prompts + 1):
        if number % EVERY == 0:
            digest, models = run_plain(server)
            result.plain[digest] += 1
            if forget:
                server.post("/history", {"clear": True})
            result.points.append(measured(process, base, number, time.monotonic() - started, models))
            told(result)
        if number < prompts:
            job = next(jobs)
            outcome = run(server, job)
            result.outcomes[f"{job.kind}: {outcome.split(':')[0]}"] += 1
            if not as_it_should(job, outcome):
                result.wrong.append(f"{job.kind}: {outcome}")
    return result


def run(server: ComfyServer, job: Job) -> str:
    """ "drawn", "cancelled" or "refused: why"."""
    seen: list[str] = []

    def cancel(event: Event) -> None:
        if event.node == SAMPLER and event.text:
            seen.append(event.text)
            if len(seen) == 2:
                server.interrupt()

    try:
        server.run(job.prompt, cancel if job.cancel else lambda event: None)
    except Interrupted:
        return "cancelled"
    except ServerError as error:
        return f"refused: {error}"
    return "drawn"


def as_it_should(job: Job, outcome: str) -> bool:
    """Whether it ended as it was to, and where it was refused, in words."""
    if any(word in outcome for word in RAW):
        return False
    if job.cancel:
        return outcome == "cancelled"
    if job.refused is None:
        return outcome == "drawn"
    if not job.refused:
        return outcome == "drawn" or "memory" in outcome
    return outcome.startswith("refused") and job.refused in outcome


def run_plain(server: ComfyServer) -> tuple[str, int]:
    """The digest of the plain job's picture, and how many models the host holds then."""
    outputs = server.run(plain())
    (picture,) = outputs["plain"]["images"]
    return hashlib.sha256(server.image(picture)).hexdigest(), outputs["loaded"]["models"][0]


def host_version(server: ComfyServer) -> str:
    return json.loads(server.get("/system_stats"))["system"]["comfyui_version"]
