"""Two people by words of their own: what is learned is a residual to what "a person" says, and a layout lets each word
act in that person's place only.

Liu et al., Cones 2, arXiv 2305.19327.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from world import Couples, PromptedFlow, World

from rivals.basis import Answer, Clock, described, sample
from rivals.fastcomposer import halves
from rivals.ip_adapter import adapted
from rivals.words import learn_codes


class LaidOutFlow(PromptedFlow):
    """The flow of prompts for two, with vectors of each person, (n, 2, k, 192), that only their half attends to."""

    def __init__(self, world: World, couples: Couples, vectors: Tensor):
        super().__init__(world, world.tokens(couples.prompts))
        known, k, places = self.context.shape[1], vectors.shape[2], halves(couples.noise)
        self.context = torch.cat([self.context, vectors.flatten(1, 2)], 1)
        words = self.context.shape[1]
        self.bias = torch.zeros(words + len(places[0]), words + len(places[0]))
        for person, place in enumerate(places):
            at = slice(known + person * k, known + (person + 1) * k)
            self.bias[words:, at] = torch.where(place > 0, 0.0, -torch.inf)

    def velocity(self, z: Tensor, sigma: Tensor) -> Tensor:
        return adapted(self.flow, z, sigma.expand(len(z)), (self.context, self.pooled), [], self.bias)


@dataclass
class Cones2:
    iterations: int = 60
    rate: float = 0.03
    vectors: int = 4
    name: ClassVar[str] = "cones2"
    stands_for: ClassVar[tuple[str, ...]] = ()
    sees: ClassVar[bool] = False

    def learn(self, world: World) -> float:
        return 0.0

    def parameters(self, world: World) -> int:
        return self.vectors * 192  # of each person

    def answer(self, world: World, couples: Couples) -> Answer:
        torch.manual_seed(1)
        person = world.model.text(torch.tensor([world.tokenize("a person")]))[0].mean(1, keepdim=True)

        def join(words: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
            return torch.cat([words[:, :-1], person + codes], 1), words[:, -1]

        clock, n = Clock(), len(couples)
        pictures = couples.references.flatten(0, 1)
        latents, words = described(world, pictures)
        start = torch.zeros(len(pictures), self.vectors, 192)
        codes = learn_codes(world, latents, words, start, join, self.iterations, self.rate)
        learned, clock = clock.seconds / n, Clock()
        vectors = (person + codes).unflatten(0, (2, n)).transpose(0, 1)
        images = world.decode(sample(LaidOutFlow(world, couples, vectors), couples.noise))
        return Answer(images, learned, clock.seconds / n)
