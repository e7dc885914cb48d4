"""What do shortcuts cost in likeness, where the gradient or the picture that is judged is only nearly right?

    COMFYUI_PATH=... python benchmarks/small_decoder.py     # once, 10 minutes
    COMFYUI_PATH=... python benchmarks/approximations.py

`cfg`: the sampler node on the embedded model, with cfg, and the gradient exact or through the positive prompt only; one
core's time.  The embedded flow has learned its prompts' guidance and draws without cfg, so that more of it costs it
something of the prompt, guided or not.

`decoder`: the loop sees its pictures through a small decoder, which is to the embedded VAE what a TAESD is to a large
one, always or in the first half of the iterations.  Whoever guides sees nothing of the embedded VAE's picture then, of
which the judge is asked.  What a TAESD spares is in `real_sizes.py`: the embedded VAE is hardly larger than one.

Both are asked with new identities, 4 views, scale 2, and judged by a recogniser that did not guide.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import chain, repeat
from statistics import mean

import hosted
import small_decoder
import torch
from floor import Hosted
from identity import yardstick
from measure import RESULTS, save
from rules import VIEWS, Race
from torch import Tensor
from world import Triples, World, machine

from rectifid_core.solver.solve import solve

ITERATIONS, SCALE = 20, 2.0
CFGS, GRADIENTS = (1.5, 3.0), ("full", "conditional", "straight")
DECODERS = {"embedded": 0, "small, then embedded": ITERATIONS // 2, "small": ITERATIONS + 1}  # so often the small one


# --- cfg ------------------------------------------------------------------------------------------------------------


class Node:
    """The sampler node in the host, for one question after the other."""

    def __init__(self, triples: Triples):
        self.host = Hosted(triples.prompts[0], triples.references[:1])
        encode = self.host.encode
        self.questions = [
            {
                "positive": encode(prompt),
                "guidance": hosted.identity_guidance(self.host.pack, self.host.eye, reference[None].movedim(1, -1)),
                "seed": seed,
            }
            for seed, (prompt, reference) in enumerate(zip(triples.prompts, triples.references, strict=True))
        ]

    @torch.inference_mode()
    def pictures(self, **settings) -> tuple[Tensor, list[float]]:
        """``(B, 3, H, W)``, and the seconds of an iteration of each question."""
        images, seconds = [], []
        for question in self.questions:
            start = time.process_time()
            result = self.host.run(**question, guidance_scale=SCALE, **settings).result
            seconds.append((time.process_time() - start) / max(settings["iterations"], 1))
            images.append(result[1].movedim(-1, 1))
        return torch.cat(images), seconds


def with_cfg(race: Race) -> list[dict]:
    node, rows = Node(race.triples), []
    for cfg in CFGS:
        images, _ = node.pictures(cfg=cfg, iterations=0)
        rows.append({"cfg": cfg, "gradient": "unguided", **race.judged(images)})
        for gradient in GRADIENTS:
            images, seconds = node.pictures(cfg=cfg, gradient=gradient, iterations=ITERATIONS)
            rows.append(
                {
                    "cfg": cfg,
                    "gradient": gradient,
                    "seconds_per_iteration": mean(seconds),
                    **race.judged(images),
                }
            )
            print(rows[-1], flush=True)
    return rows


# --- the decoder ----------------------------------------------------------------------------------------------------


def with_decoders(race: Race) -> list[dict]:
    world, small, rows = race.world, small_decoder.trained(), []
    z = small_decoder.latents(world, small_decoder.VALIDATION, 64)
    psnr = small_decoder.psnr(world, small, z)
    for name, often in DECODERS.items():
        decoders = chain(repeat(small, often), repeat(world.decode))
        run = solve(
            race.flow,
            lambda z, decoders=decoders: next(decoders)(z),
            race.energy(),
            race.triples.noise,
            rule="accumulated",
            iterations=ITERATIONS,
            scale=SCALE,
            gradient="full",
        )
        *_, last = run
        rows.append({"decoder": name, "psnr": psnr, **race.judged(world.decode(last.latent))})
        print(rows[-1], flush=True)
    return rows


PARTS = {"cfg": with_cfg, "decoder": with_decoders}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--only", choices=PARTS)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    world, triples, path = World(), Triples.draw(arguments.n, "evaluation"), RESULTS / "approximations.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    results |= {"machine": machine(), "n": arguments.n, "iterations": ITERATIONS, "views": VIEWS, "scale": SCALE}
    results["ceiling"] = yardstick(world, triples)
    race = Race(world, triples)
    for name, measure in PARTS.items():
        if arguments.only in (None, name):
            results[name] = {"rows": measure(race)}
            save(results, path)


if __name__ == "__main__":
    main()
