"""Does a guidance scale mean the same on latents of different sizes?

The embedded flow draws its portraits on canvases of three sizes; the face keeps its size, and the guide and the judge
look at the 128 x 128 pixels in the middle.  The scale is taken in units of the latent's norm, as the sampler does by
default, and as published: once at the quickstart's settings, and once with few small steps, far from where the gain
saturates.

    COMFYUI_PATH=... python benchmarks/scale.py
"""

from __future__ import annotations

import argparse
import math

import torch
from identity import Each
from measure import RESULTS, save
from torch import Tensor
from world import Triples, World, guidance_by, machine, similarity

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.images.regions import Region
from rectifid_core.solver.best import Best
from rectifid_core.solver.solve import solve

SIDES = (16, 20, 24)  # of the latent; 8 pixels each
PORTRAIT = 128
UNITS = {"latent": lambda numbers: math.sqrt(numbers / 16384), "published": lambda numbers: 1.0}
SETTINGS = ((20, 2.0), (5, 0.5))  # iterations, scale in units of the latent


class Middle(EmbeddingDiscriminator):
    """Looks at the middle of the picture."""

    def locate(self, image: Tensor, query: Tensor | None = None, thorough: bool = False) -> list[list[Region]]:
        edge = (image.shape[-1] - PORTRAIT) / 2
        return [[Region((edge, edge, edge + PORTRAIT, edge + PORTRAIT))]] * len(image)


def run(world: World, triples: Triples, side: int, unit: str, iterations: int, scale: float) -> dict:
    guide = Middle(world.guide.network, name="guide", digest="", input_size=world.guide.input_size)
    noise = torch.randn(len(triples), 16, side, side, generator=torch.Generator().manual_seed(side))
    energies = [guidance_by(guide, x).energy(4, 0) for x in triples.references]
    smallest = 16 * SIDES[0] ** 2
    step = scale * UNITS["latent"](smallest) * UNITS[unit](noise[0].numel()) / UNITS[unit](smallest)
    settings = {"rule": "accumulated", "scale": step, "iterations": iterations, "gradient": "full"}
    best, judged = Best(), []
    for iterate in solve(world.flow(triples.prompts), world.decode, Each(energies), noise, **settings):
        best.update(iterate)
        if iterate.number in (0, iterations):
            edge = (best.image.shape[-1] - PORTRAIT) // 2
            middle = best.image[..., edge : edge + PORTRAIT, edge : edge + PORTRAIT]
            judged.append(similarity(world.judge, middle, triples.references))
    ceiling = similarity(world.judge, triples.others, triples.references).mean()
    gain = (judged[1] - judged[0]) / (ceiling - judged[0].mean())
    return {
        "pixels": 8 * side,
        "unit": unit,
        "iterations": iterations,
        "step": step,  # the solver's scale: both units are made to agree on the smallest canvas
        "gain": gain.mean().item(),
        "gain_sem": (gain.std() / len(triples) ** 0.5).item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=24)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    world, triples = World(), Triples.draw(arguments.n, "evaluation")
    rows = []
    for iterations, scale in SETTINGS:
        for side in SIDES:
            for unit in UNITS if side != SIDES[0] else ("latent",):
                rows.append(run(world, triples, side, unit, iterations, scale))
                print(rows[-1], flush=True)
    results = {"machine": machine(), "n": arguments.n, "rows": rows}
    save(results, RESULTS / "scale.json")


if __name__ == "__main__":
    main()
