"""Our loop against the published algorithm, on the same model, in the same run.

    COMFYUI_PATH=... python benchmarks/published.py

The published loop, written again here from the paper and its description: one graph of all windows, a look for the
region and a full decode in each iteration, the plain picture instead of views, `accumulated` updates.  Each contestant
answers the same questions, one picture at a time, by turns; `ratio` is its time to the published loop's similarity
after 20 iterations, by the judge, over the time that the published loop takes for it, from the same turn.  Time is that
of the processor, of which a machine that does other things takes nothing.  Memory is the peak of the tensors that an
iteration makes, without the weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from statistics import median

import torch
from measure import RESULTS, peak_bytes, save
from torch import Tensor
from world import Triples, World, guidance_by, machine, similarity

from rectifid_core.solver.best import Best
from rectifid_core.solver.gradient import StraightGradient
from rectifid_core.solver.solve import solve

ITERATIONS = 20
ACCUMULATED = {"rule": "accumulated", "scale": 1.0, "color_first": False, "iterations": 24}
OURS = {
    "default": {"views": 4, "iterations": 16},
    "default, no views": {"views": 0, "iterations": 16},
    "default, decoder run again": {"views": 4, "iterations": 16, "checkpoint_decoder": True},
    "default, no views, decoder run again": {"views": 0, "iterations": 16, "checkpoint_decoder": True},
    "accumulated": {"views": 4, "gradient": "full", **ACCUMULATED},
    "accumulated, no views": {"views": 0, "gradient": "full", **ACCUMULATED},
    "accumulated, no views, windowed": {"views": 0, "gradient": "windowed", **ACCUMULATED},
    "single pass, 12 updates": {"views": 4, "rule": "single_pass", "scale": 2.0, "iterations": 12},
    "single pass, 16 updates": {"views": 4, "rule": "single_pass", "scale": 2.0, "iterations": 16},
    "single pass, 16 updates, no views": {"views": 0, "rule": "single_pass", "scale": 2.0, "iterations": 16},
}


def published(world: World, prompt: str, reference: Tensor, noise: Tensor, iterations: int) -> Iterator[Tensor]:
    """The picture of each iterate, ``(1, 3, H, W)``."""
    flow, eye = world.flow([prompt]), world.guide
    wanted = eye.embed(eye.crop(reference[None], eye.locate(reference[None])[0]))
    offsets = [torch.zeros_like(noise) for _ in range(len(flow))]
    for number in range(iterations + 1):
        with torch.set_grad_enabled(number < iterations):
            starts, z = [], noise.clone().requires_grad_(number < iterations)
            for k, offset in enumerate(offsets):
                starts.append(z)
                z = flow.step(k, z) + offset
            image = world.decode(z)
            crop = eye.crop(image, eye.locate(image.detach())[0])
            loss = 100 * (1 - (eye.embed(crop) * wanted).sum())
            if number < iterations:
                for offset, gradient in zip(offsets, torch.autograd.grad(loss, starts), strict=True):
                    offset -= gradient / gradient.norm().clamp(min=1)
        yield image.detach()


def ours(world: World, prompt: str, reference: Tensor, noise: Tensor, settings: dict) -> Iterator[Tensor]:
    """The best picture so far at each iterate; of a single pass the guided one is the last."""
    settings = dict(settings)
    guidance = guidance_by(world.guide, reference, color_first=settings.pop("color_first", True))
    energy = guidance.energy(settings.pop("views"), 0)
    if settings.pop("checkpoint_decoder", False):
        settings["gradient"] = StraightGradient(checkpoint_decoder=True)
    best = Best()
    for iterate in solve(world.flow([prompt]), world.decode, energy, noise, **settings):
        best.update(iterate)
        yield best.image


def run(world: World, triples: Triples, name: str) -> tuple[Tensor, Tensor]:
    """The seconds to each iterate, summed over the questions, and the pictures (iterates, B, 3, H, W)."""
    iterations = ITERATIONS if name == "published" else OURS[name]["iterations"]
    seconds, pictures = torch.zeros(iterations + 1), []
    for prompt, reference, noise in zip(triples.prompts, triples.references, triples.noise, strict=True):
        question = (world, prompt, reference, noise[None])
        iterates = published(*question, ITERATIONS) if name == "published" else ours(*question, OURS[name])
        start, seen = time.process_time(), []
        for number, image in enumerate(iterates):
            seconds[number] += time.process_time() - start
            seen.append(image)
        pictures.append(torch.cat(seen))
    return seconds, torch.stack(pictures, dim=1)


def peak(world: World, triples: Triples, name: str) -> int:
    """Bytes, of two iterations of the first question."""
    question = (world, triples.prompts[0], triples.references[0], triples.noise[:1])
    if name == "published":
        return peak_bytes(lambda: list(published(*question, 2)))
    return peak_bytes(lambda: list(ours(*question, {**OURS[name], "iterations": 2})))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    world, triples = World(), Triples.draw(arguments.n, "evaluation")
    names, rows, turns = ["published", *OURS], {}, []
    for _ in range(arguments.repeats):
        turns.append({})
        for name in names:
            turns[-1][name], pictures = run(world, triples, name)
            if name not in rows:
                judge = [similarity(world.judge, each, triples.references).mean().item() for each in pictures]
                rows[name] = {"judge": judge, "bytes": peak(world, triples, name)}
        compare(rows, turns, arguments.n)
        results = {"machine": machine(), "n": arguments.n, "turns": len(turns), "settings": OURS, "rows": rows}
        for name, key in (("default", ""), ("default, no views", "_without_views")):
            if rows[name]["ratio"]:
                results[f"time_ratio{key}"] = median(rows[name]["ratio"])
            results[f"memory_ratio{key}"] = rows[name]["memory_ratio"]
        save(results, RESULTS / "published.json")
    for name, row in rows.items():
        ratio = f"time {median(row['ratio']):.2f}" if row["ratio"] else "never so alike"
        print(name, row["iterations_to_the_same_similarity"], ratio, f"memory {row['memory_ratio']:.2f}")


def compare(rows: dict[str, dict], turns: list[dict[str, Tensor]], n: int) -> None:
    """Adds to each row what it takes to the published loop's similarity, by turns."""
    goal = rows["published"]["judge"][ITERATIONS]
    for name, row in rows.items():
        last = len(row["judge"]) - 1
        whole = OURS.get(name, {}).get("rule") == "single_pass"  # of which the end is the result
        reached = next((i for i in range(last if whole else 0, last + 1) if row["judge"][i] >= goal), None)
        row |= {
            "seconds_per_iteration": [(turn[name][-1] / (len(turn[name]) - 1) / n).item() for turn in turns],
            "iterations_to_the_same_similarity": reached,
            "ratio": [(turn[name][reached] / turn["published"][ITERATIONS]).item() for turn in turns]
            if reached
            else [],
            "memory_ratio": row["bytes"] / rows["published"]["bytes"],
        }


if __name__ == "__main__":
    main()
