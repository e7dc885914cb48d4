"""RectifID, as published and as it is here.

Sun et al., RectifID, arXiv 2405.14677.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from published import published
from torch import Tensor
from world import PromptedFlow, Triples, World, guidance_by

from rectifid_core.guidance.base import Guidance
from rectifid_core.interfaces import Flow
from rectifid_core.solver.best import Best
from rectifid_core.solver.convergence import TOLERANCE
from rectifid_core.solver.solve import solve
from rivals.basis import Answer, Clock
from rivals.guided import Guided
from rivals.ip_adapter import IPAdapter


@dataclass
class Published(Guided):
    """The published loop, see `published.py`: its last picture."""

    name: ClassVar[str] = "published"

    def answer(self, world: World, triples: Triples) -> Answer:
        clock, images = Clock(), []
        for prompt, reference, noise in zip(triples.prompts, triples.references, triples.noise, strict=True):
            *_, last = published(world, prompt, reference, noise[None], self.iterations)
            images.append(last)
        return Answer(torch.cat(images), 0.0, clock.seconds / len(triples))


@dataclass
class Ours(Guided):
    """A fresh node's settings: it ends where it is at rest, and keeps the best picture."""

    name: ClassVar[str] = "ours"

    def answer(self, world: World, triples: Triples) -> Answer:
        prepared, drawn, images = 0.0, 0.0, []
        for i in range(len(triples)):
            clock, one = Clock(), triples.part(slice(i, i + 1))
            guidance, flow = guidance_by(world.guide, one.references[0]), self.flow(world, one)
            prepared, clock = prepared + clock.seconds, Clock()
            images.append(guide(world, flow, guidance, one.noise, self.iterations))
            drawn += clock.seconds
        return Answer(torch.cat(images), prepared / len(triples), drawn / len(triples))

    def flow(self, world: World, one: Triples) -> PromptedFlow:
        return world.flow(one.prompts)


def guide(world: World, flow: Flow, guidance: Guidance, noise: Tensor, iterations: int) -> Tensor:
    """The picture, (1, 3, H, W)."""
    best, changes = Best(), max(getattr(guidance, "changes", ()), default=0)
    for iterate in solve(flow, world.decode, guidance.energy(4, 0), noise, iterations=iterations):
        best.update(iterate)
        if iterate.number >= changes and (iterate.slope <= TOLERANCE).all():
            break
    return best.image


@dataclass
class OursOnAdapter(Ours):
    """The same, on the flow with the image adapter."""

    adapter: IPAdapter = field(default_factory=lambda: IPAdapter(strength=1.0))  # one call of the flow, not two
    name: ClassVar[str] = "ours_on_adapter"

    def learn(self, world: World) -> float:
        return self.adapter.learn(world)

    def parameters(self, world: World) -> int:
        return self.adapter.parameters(world)

    def flow(self, world: World, one: Triples) -> PromptedFlow:
        return self.adapter.flow(world, one.prompts, self.adapter.tokens(world, one.references))
