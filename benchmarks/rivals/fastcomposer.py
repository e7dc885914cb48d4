"""Two people by the image adapter, each of whose tokens reach their own half of the picture only.

Xiao et al., FastComposer, arXiv 2305.10431.  It learns to keep the attention to each person within that person's
place; here the place is known, and the attention is held to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from world import Couples, World

from rivals.basis import Answer, Clock, sample
from rivals.ip_adapter import AdaptedFlow, IPAdapter


def halves(noise: Tensor) -> list[Tensor]:
    """How much each place of a wide latent, (B, 16, h, w), belongs to the left and to the right person, (L, 1) each."""
    height, width = noise.shape[-2] // 2, noise.shape[-1] // 2
    left = (torch.arange(width) < width // 2).float().expand(height, width).reshape(-1, 1)
    return [left, 1 - left]


@dataclass
class FastComposer:
    adapter: IPAdapter = field(default_factory=IPAdapter)
    iterations: int = 0
    name: ClassVar[str] = "fastcomposer"
    stands_for: ClassVar[tuple[str, ...]] = ()
    sees: ClassVar[bool] = False

    def learn(self, world: World) -> float:
        return self.adapter.learn(world)

    def parameters(self, world: World) -> int:
        return self.adapter.parameters(world)

    def answer(self, world: World, couples: Couples) -> Answer:
        clock, n = Clock(), len(couples)
        tokens = [self.adapter.tokens(world, references) for references in couples.references]
        seen, clock = clock.seconds / n, Clock()
        places = list(zip(tokens, halves(couples.noise), strict=True))
        flow = AdaptedFlow(world, couples.prompts, places, self.adapter.strength, self.adapter.windows)
        images = world.decode(sample(flow, couples.noise))
        return Answer(images, seen, clock.seconds / n)
