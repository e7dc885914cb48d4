"""Fewer steps, and more: the embedded flow in 1, 2, 4 and 8, and a consistency model of it; plain and guided.

    COMFYUI_PATH=... python benchmarks/few_steps.py            # a quarter of an hour; resumes row by row
    COMFYUI_PATH=... python benchmarks/few_steps.py --quick    # to output/benchmarks

The flow was made for four windows.  The consistency model is distilled from it here, in a few minutes (Song et al.,
arXiv 2303.01469; as Luo et al. do for latent models, arXiv 2310.04378): it foresees the clean latent, and between
its steps noise is put in again.  Guided: a fresh node's settings, 20 iterations.  The columns are those of `scores.py`.
"""

from __future__ import annotations

import argparse
import copy
import math
from pathlib import Path

import numpy as np
import torch
from measure import QUICK, RESULTS, rows_of, save
from rivals.basis import Clock, cache, read, sample
from rivals.rectifid import guide
from rivals.scores import Scores
from torch import Tensor, nn
from torch.nn import functional as F
from world import PromptedFlow, Scene, Triples, World, guidance_by, machine, shift, write_prompt

STEPS, MODELS = (1, 2, 4, 8), ("flow", "consistency")
TRAJECTORIES, PIECES, BATCH, RATE = 1500, 8, 64, 3e-4


class ConsistencyFlow(PromptedFlow):
    """A model that foresees the clean latent from any noise level: a window is a look at it, and noise put in again,
    the same for each window in each iteration."""

    def __init__(self, world: World, network: nn.Module, prompts: list[str], windows: int):
        super().__init__(world, world.tokens(prompts), windows)
        self.flow = network
        self.noise = torch.randn(windows, 16, 16, 16, generator=torch.Generator().manual_seed(4))

    def step(self, k: int, z: Tensor) -> Tensor:
        return self.predict(k, z)[0]

    def predict(self, k: int, z: Tensor) -> tuple[Tensor, Tensor]:
        clean = z - self.sigmas[k] * self.velocity(z, self.sigmas[k])
        sigma = self.sigmas[k + 1]
        return (1 - sigma) * clean + sigma * self.noise[k], clean


def distil(world: World, minutes: float, trajectories: int) -> nn.Module:
    """The moving average of a copy of the flow which says the same of neighbours on the flow's own trajectories."""
    path = cache() / f"consistency_{minutes:g}_{trajectories}.pt"
    student = copy.deepcopy(world.model.flow).requires_grad_(True)
    average = copy.deepcopy(student).requires_grad_(False)
    if not path.exists():
        prompts = [write_prompt(Scene.sample(np.random.default_rng([9, n])))[0] for n in range(trajectories)]
        sigmas, words = shift(torch.linspace(1, 0, PIECES + 1)), read(world, prompts)
        states = _trajectories(world, prompts)
        optimizer = torch.optim.AdamW(student.parameters(), RATE, betas=(0.9, 0.99), weight_decay=0.01)
        clock, step = Clock(), 0
        while (share := clock.seconds / (60 * minutes)) < 1:
            optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 50) * (1 + math.cos(math.pi * share)) / 2
            at, piece = torch.randint(trajectories, (BATCH,)), torch.arange(BATCH) % PIECES
            with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                mine = _clean(student, states[at, piece].float(), sigmas[piece], words[at])
                with torch.no_grad():
                    goal = _clean(average, states[at, piece + 1].float(), sigmas[piece + 1], words[at])
                loss = F.mse_loss(mine, goal)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            step += 1
            for mean, value in zip(average.parameters(), student.parameters(), strict=True):
                mean.data.lerp_(value.data, 1 - min(0.98, (1 + step) / (20 + step)))
        torch.save(average.state_dict(), path)
    average.load_state_dict(torch.load(path, weights_only=True))
    return average.eval()


@torch.no_grad()
def _trajectories(world: World, prompts: list[str]) -> Tensor:
    """Of the flow in PIECES steps, (n, PIECES + 1, 16, 16, 16) float16."""
    parts = []
    for start in range(0, len(prompts), 100):
        flow = world.flow(prompts[start : start + 100], PIECES)
        states = [torch.randn(len(flow.pooled), 16, 16, 16, generator=torch.Generator().manual_seed(start))]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for k in range(PIECES):
                states.append(flow.step(k, states[-1]).float())
        parts.append(torch.stack(states, 1).half())
    return torch.cat(parts)


def _clean(network: nn.Module, z: Tensor, sigma: Tensor, words: Tensor) -> Tensor:
    """The clean latent that is foreseen; at a noise level of 0 the latent itself."""
    velocity = network(z, 1000 * sigma, y=words[:, -1], context=words[:, :-1]).float()
    return z - sigma.view(-1, 1, 1, 1) * velocity


def run(world: World, scores: Scores, triples: Triples, model: str, student: nn.Module, steps: int, iterations: int):
    """One row."""

    def flow(prompts: list[str]) -> PromptedFlow:
        if model == "flow":
            return world.flow(prompts, steps)
        return ConsistencyFlow(world, student, prompts, steps)

    plain = world.decode(sample(flow(triples.prompts), triples.noise))
    clock, guided = Clock(), []
    for i in range(len(triples)):
        one = triples.part(slice(i, i + 1))
        by = guidance_by(world.guide, one.references[0])
        guided.append(guide(world, flow(one.prompts), by, one.noise, iterations))
    seconds = clock.seconds / len(triples)
    found = {name: scores(x, triples) for name, x in (("plain", plain), ("ours", torch.cat(guided)))}
    return {"model": model, "steps": steps, "seconds_picture": seconds, **found}


def plot(results: dict, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure((14, 4.5), layout="constrained")
    for panel, (key, title) in zip(
        figure.subplots(1, 3),
        {"judge": "judge's similarity", "prompt": "prompt accuracy", "quality": "Frechet distance"}.items(),
        strict=True,
    ):
        for model, color in zip(MODELS, ("tab:blue", "tab:orange"), strict=True):
            rows = [row for row in results["rows"] if row["model"] == model]
            for drawn, style in (("plain", "--"), ("ours", "-")):
                values = [row[drawn][key] for row in rows]
                errors = [row[drawn].get(f"{key}_sem", 0) for row in rows]
                steps = [row["steps"] for row in rows]
                panel.errorbar(steps, values, errors, fmt=f"o{style}", color=color, label=f"{model}, {drawn}")
        panel.set(title=title, xlabel="steps", xscale="log")
        panel.set_xticks(STEPS, [str(steps) for steps in STEPS])
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    figure.suptitle(f"{results['n']} new identities; {results['machine']}", fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--minutes", type=float, default=4, help="of the distillation")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="measure rows again that are in the results already")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    world, folder = World(), QUICK if arguments.quick else RESULTS
    path, triples = folder / "few_steps.json", Triples.draw(4 if arguments.quick else arguments.n, "evaluation")
    student = distil(world, 0.3, 100) if arguments.quick else distil(world, arguments.minutes, TRAJECTORIES)
    known = rows_of(path, arguments.fresh or arguments.quick)
    results = {"machine": machine(), "n": len(triples), "rows": known}
    scores = Scores(world)
    for model in MODELS:
        for steps in STEPS:
            if not any((row["model"], row["steps"]) == (model, steps) for row in known):
                iterations = 5 if arguments.quick else 20
                known.append(run(world, scores, triples, model, student, steps, iterations))
                save(results, path)
                both = {name: round(known[-1][name]["judge"], 3) for name in ("plain", "ours")}
                print(model, steps, both, flush=True)
    plot(results, folder / "few_steps.png")


if __name__ == "__main__":
    main()
