"""What the methods share that follow the guide's gradient: questions one at a time, and the guide's likeness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from world import PromptedFlow, Triples, World

from rectifid_core.images.regions import whole
from rivals.basis import Answer, Clock


@dataclass
class Guided:
    """A method that trains nothing; ``iterations`` gradients for a picture."""

    iterations: int = 20
    stands_for: ClassVar[tuple[str, ...]] = ()
    sees: ClassVar[bool] = True

    def learn(self, world: World) -> float:
        return 0.0

    def parameters(self, world: World) -> int:
        return 0

    def draw(self, world: World, flow: PromptedFlow, look: Callable[[Tensor], Tensor], noise: Tensor) -> Tensor:
        """The picture, (1, 3, H, W).  look: the likeness of a picture to the reference by the guide, (1,)."""
        raise NotImplementedError

    def answer(self, world: World, triples: Triples) -> Answer:
        prepared, drawn, images = 0.0, 0.0, []
        for i in range(len(triples)):
            clock, one = Clock(), triples.part(slice(i, i + 1))
            look = likeness(world, one.references)
            prepared, clock = prepared + clock.seconds, Clock()
            images.append(self.draw(world, world.flow(one.prompts), look, one.noise))
            drawn += clock.seconds
        return Answer(torch.cat(images), prepared / len(triples), drawn / len(triples))


def likeness(world: World, references: Tensor) -> Callable[[Tensor], Tensor]:
    eye = world.guide
    with torch.no_grad():
        wanted = eye.embed(eye.crop(references, [whole(references)] * len(references)))
    return lambda image: (eye.embed(eye.crop(image, [whole(image)] * len(image))) * wanted).sum(1)


def ascent(run: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """The likeness at z, detached, and its gradient, as a direction of norm 1 where it is not shorter."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = run(z)
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def normalized(gradient: Tensor) -> Tensor:
    """Of length 1, of the whole batch's sample."""
    return gradient / gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
