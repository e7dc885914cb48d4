"""What is said of pictures that answer the questions of `world.Triples`, whatever drew them."""

from __future__ import annotations

import torch
from quality import PICTURES, frechet, network, pictures_of, someone, somewhere
from torch import Tensor
from trait_table import agreement
from traits import read_traits
from world import WEIGHTS, Triples, World, similarity


class Scores:
    """judge, guide: mean similarity to the reference, by the recogniser that does not guide and the one that does;
    prompt: the share of the named attributes that the pictures have; quality: the Frechet distance to drawn pictures of
    other people, by a network that is trained for nothing else (lower is better, and so few pictures are far even
    where they are drawn); traits: the mean over the traits of the share of pictures in which a third network reads the
    same as in the reference."""

    def __init__(self, world: World):
        self.world = world
        self.features, self.reader = (network(WEIGHTS / f"{name}.onnx") for name in ("features", "reader"))
        others = range(PICTURES, 2 * PICTURES)
        self.drawn = pictures_of([(someone(n), somewhere(n)) for n in others])

    @torch.no_grad()
    def __call__(self, images: Tensor, triples: Triples) -> dict:
        judge = similarity(self.world.judge, images, triples.references)
        prompt = self.world.prompt_accuracy(images, triples.scenes, triples.named)
        return {
            "judge": judge.mean().item(),
            "judge_sem": sem(judge),
            "below_0.7": (judge < 0.7).float().mean().item(),
            "guide": similarity(self.world.guide, images, triples.references).mean().item(),
            "prompt": prompt.mean().item(),
            "prompt_sem": sem(prompt),
            "quality": self.quality(images),
            **self.traits(images, triples.references),
        }

    def quality(self, images: Tensor) -> float:
        return frechet(self.features, images, self.drawn)

    @torch.no_grad()
    def traits(self, images: Tensor, references: Tensor) -> dict:
        each = agreement(*(read_traits(self.reader(x)) for x in (images, references)))
        return {"traits": sum(each.values()) / len(each), "each_trait": each}


def sem(values: Tensor) -> float:
    """The standard error of the mean."""
    return (values.std() / len(values) ** 0.5).item()
