"""When is the straight gradient, which takes each window's Jacobian as the identity, worse than the exact one?

    COMFYUI_PATH=... python benchmarks/straight.py                       # resumes row by row
    COMFYUI_PATH=... python benchmarks/straight.py --teacher teacher.pt  # and before the reflow, with cfg
    COMFYUI_PATH=... python benchmarks/straight.py --quick               # to output/benchmarks

The embedded flow was straightened in four windows.  Here it also runs in fewer and more, and with classifier-free
guidance, which bends it; `--teacher` takes the state that `demo/train_flow.py teacher` keeps in its cache, a flow that
nothing has straightened.  For each: the cosines between the straight gradient, the exact one as published, which is
that at the start of a window, and the derivative by the offset, which is that at its end; and the judge's similarity
after a run with either of the first two.  The questions are those for tuning.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from pathlib import Path

import torch
from measure import QUICK, RESULTS, rows_of, save
from rules import Race
from torch import Tensor
from velocity import WINDOWS
from world import Drawing, PromptedFlow, Triples, World, machine

from rectifid_core.solver.best import Best
from rectifid_core.solver.gradient import GRADIENTS

CASES = [("embedded", windows, 1.0) for windows in (1, 2, 4, 8)] + [("embedded", WINDOWS, cfg) for cfg in (2.0, 4.0)]
TEACHER = [("teacher", windows, cfg) for windows in (WINDOWS, 8) for cfg in (1.0, 2.5, 4.0)]


class GuidedFlow(PromptedFlow):
    """The flow with classifier-free guidance."""

    def __init__(self, drawing: Drawing, prompts: list[str], windows: int, cfg: float):
        super().__init__(drawing, drawing.tokens(prompts), windows)
        self.cfg, self.nothing = cfg, drawing.flow([""] * len(prompts), windows)

    def velocity(self, z: Tensor, sigma: Tensor) -> Tensor:
        named = super().velocity(z, sigma)
        if self.cfg == 1:
            return named
        plain = self.nothing.velocity(z, sigma)
        return plain + self.cfg * (named - plain)


def teacher_of(world: World, path: Path) -> World:
    """The world with the flow of before the reflow."""
    world = copy.copy(world)
    world.model = copy.deepcopy(world.model)
    world.model.flow.load_state_dict(torch.load(path, weights_only=True)["average"])
    return world


def cosines(race: Race) -> dict[str, float]:
    """Between the gradients of all offsets together at the unguided trajectory, the mean over the questions.

    published: g_k at the start of its window; derivative: of the energy by the offset d_k, which is g_(k+1).
    """
    nothing = [torch.zeros_like(race.triples.noise)] * len(race.flow)
    exact, straight = (
        GRADIENTS[name](race.flow, race.world.decode, race.energy(), race.triples.noise, nothing, 0).gradients
        for name in ("full", "straight")
    )
    kinds = {"straight": straight[1:], "published": exact[:-1], "derivative": exact[1:]}
    flat = {name: torch.stack(g, dim=1).flatten(1) for name, g in kinds.items()}
    return {
        f"{one}, {other}": torch.cosine_similarity(flat[one], flat[other], dim=1).mean().item()
        for one, other in itertools.combinations(flat, 2)
    }


def measure(world: World, triples: Triples, case: tuple[str, int, float], iterations: int) -> dict:
    name, windows, cfg = case
    row = {"flow": name, "windows": windows, "cfg": cfg, "iterations": iterations}
    race = Race(world, triples)
    race.flow = GuidedFlow(world, triples.prompts, windows, cfg)
    row["cosine"] = cosines(race)
    row["unguided"] = race.judged(next(race.iterates({}, 0)).image)
    for gradient in ("straight", "full"):
        best = Best()
        for iterate in race.iterates({"rule": "anchored", "gradient": gradient}, iterations):
            best.update(iterate)
        row[gradient] = race.judged(best.image)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--teacher", type=Path, help="the training's state of the flow before its reflow")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="measure rows again that are in the results already")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    n, iterations = (2, 3) if arguments.quick else (arguments.n, arguments.iterations)
    world, triples = World(), Triples.draw(n, "tuning")
    worlds = {"embedded": world}
    if arguments.teacher:
        worlds["teacher"] = teacher_of(world, arguments.teacher)
    path = (QUICK if arguments.quick else RESULTS) / "straight.json"
    rows = rows_of(path, arguments.fresh or arguments.quick)
    results = {"machine": machine(), "n": n, "rows": rows}
    measured = [(row["flow"], row["windows"], row["cfg"]) for row in rows]
    for case in CASES + (TEACHER if arguments.teacher else []):
        if case not in measured:
            rows.append(measure(worlds[case[0]], triples, case, iterations))
            save(results, path)
            row = rows[-1]
            judges = ", ".join(f"{name} {row[name]['judge']:.3f}" for name in ("unguided", "straight", "full"))
            cosine = ", ".join(f"{value:.2f}" for value in row["cosine"].values())
            print(*case, f"cosines {cosine};", judges, flush=True)


if __name__ == "__main__":
    main()
