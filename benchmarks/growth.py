"""How the cost of one iteration grows: with the windows, the picture, the subjects, the batch, and the views.

    COMFYUI_PATH=... python benchmarks/growth.py

One of them varies at a time, the others stay: 4 windows, 128 x 128 pixels, one subject, one picture, 4 views, windowed
gradient.  The exponent is the slope of a line through the logarithms: cost ~ size ^ exponent.  Time is the median of
five, taken by turns; memory is the peak of the tensors that one iteration makes, without the weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import numpy as np
import torch
from measure import RESULTS, peak_bytes, save, seconds
from world import Triples, World, guidance_by, machine

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.guidance.combination import combine
from rectifid_core.guidance.weighted_sum import Schedule
from rectifid_core.solver.solve import solve

USUAL = {"windows": 4, "side": 128, "subjects": 1, "batch": 1, "views": 4}
SIZES = {
    "windows": (1, 2, 4, 8, 16),
    "side": (96, 128, 192, 256),
    "subjects": (1, 2, 4, 8),
    "batch": (1, 2, 4, 8),
    "views": (1, 2, 4, 8, 16),
}
UNITS = {"side": "pixels of the picture's side"}
ITERATIONS = 3  # of which the last one costs no gradient


class Job:
    """Iterations of one size; called, it runs them."""

    def __init__(self, world: World, triples: Triples, *, windows, side, subjects, batch, views):
        self.flow, self.decode = world.flow(triples.prompts[:1] * batch, windows), world.decode
        self.noise = torch.randn(batch, 16, side // 8, side // 8, generator=torch.Generator().manual_seed(0))
        eye = EmbeddingDiscriminator(world.guide.network, name="guide", digest="", input_size=world.guide.input_size)
        people = {str(i): guidance_by(eye, triples.references[i]) for i in range(subjects)}
        self.guidance = combine({name: (person, Schedule()) for name, person in people.items()})
        self.views = views

    def __call__(self) -> None:
        for _ in solve(self.flow, self.decode, self.guidance.energy(self.views, 0), self.noise, iterations=ITERATIONS):
            pass


def measure(world: World, triples: Triples, name: str) -> dict:
    jobs = {size: Job(world, triples, **{**USUAL, name: size}) for size in SIZES[name]}
    times = seconds(jobs)
    cost = {
        "size": list(jobs),
        "seconds": [median(times[size]) / ITERATIONS for size in jobs],
        "bytes": [peak_bytes(job) for job in jobs.values()],
    }
    logarithm = np.log(cost["size"])
    cost["exponent"] = {unit: float(np.polyfit(logarithm, np.log(cost[unit]), 1)[0]) for unit in ("seconds", "bytes")}
    return cost


def plot(results: dict, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure((15, 6), layout="constrained")
    panels = figure.subplots(2, len(SIZES))
    for column, (name, cost) in zip(panels.T, results["cost"].items(), strict=True):
        for panel, unit, scale in zip(column, ("seconds", "bytes"), (1, 2**20), strict=True):
            panel.loglog(cost["size"], np.array(cost[unit]) / scale, "o-", base=2)
            panel.set_title(f"exponent {cost['exponent'][unit]:.2f}", fontsize=9)
            panel.set_xticks(cost["size"], cost["size"])
            panel.grid(alpha=0.3, which="both")
            panel.set_xlabel(UNITS.get(name, name))
        column[0].set_ylabel("seconds per iteration")
        column[1].set_ylabel("peak MiB")
    figure.suptitle(f"Cost of one iteration of the embedded model; {results['machine']}", fontsize=9)
    figure.savefig(path, dpi=100)


def main() -> None:
    torch.set_grad_enabled(False)
    world, triples = World(), Triples.draw(max(SIZES["subjects"]), "evaluation")
    results = {"machine": machine(), "usual": USUAL, "cost": {}}
    for name in SIZES:
        results["cost"][name] = measure(world, triples, name)
        print(name, json.dumps(results["cost"][name]["exponent"]), flush=True)
    save(results, RESULTS / "growth.json")
    plot(results, RESULTS / "growth.png")


if __name__ == "__main__":
    main()
