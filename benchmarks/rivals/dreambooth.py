"""The whole flow is trained on the reference, with a rare word for the person, and on its own pictures of other
people, so that it does not forget them.

Ruiz et al., DreamBooth, arXiv 2208.12242.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from portrait import Scene, write_prompt
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from velocity import BOUNDARIES, WINDOWS
from world import PromptedFlow, Triples, World

from rivals.basis import Answer, Clock, described, levels, mix, read, sample

HALF = 4  # of a batch: the reference at a noise level in each window, and as many of the flow's own pictures
PRIOR = 128  # of those
Weights = dict[str, Tensor]


def rare_word() -> Tensor:
    """One context vector that nothing else says, (1, 1, 192): the text encoder knows no word that it does not hear as
    all the others that it does not know."""
    return torch.randn(1, 1, 192, generator=torch.Generator().manual_seed(12))


class TunedFlow(PromptedFlow):
    """The flow of given prompts, each of which also has the rare word, with other weights."""

    def __init__(self, world: World, prompts: list[str], weights: Weights):
        super().__init__(world, world.tokens(prompts))
        self.context = torch.cat([self.context, rare_word().expand(len(prompts), 1, -1)], 1)
        self.weights = weights

    def velocity(self, z: Tensor, sigma: Tensor) -> Tensor:
        return functional_call(
            self.flow, self.weights, (z, 1000 * sigma.expand(len(z))), {"y": self.pooled, "context": self.context}
        )


class Prior:
    """The flow's own trajectories for prompts of this world, (PRIOR, 5, 16, 16, 16), and what was read in them."""

    def __init__(self, world: World):
        prompts = [write_prompt(Scene.sample(np.random.default_rng([8, n])))[0] for n in range(PRIOR)]
        self.words = read(world, prompts)
        flow, z = world.flow(prompts), torch.randn(PRIOR, 16, 16, 16, generator=torch.Generator().manual_seed(8))
        states = [z]
        with torch.no_grad():
            for k in range(WINDOWS):
                states.append(flow.step(k, states[-1]))
        self.states = torch.stack(states, 1)

    def batch(self, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """States on the way, their noise levels, the windows' velocities and the words, of n at random."""
        at, window = torch.randint(PRIOR, (n,)), torch.arange(n) % WINDOWS
        start, end = self.states[at, window], self.states[at, window + 1]
        s0, s1 = BOUNDARIES[window], BOUNDARIES[window + 1]
        u = torch.rand(n) * (torch.rand(n) < 0.5)
        z = start + u.view(-1, 1, 1, 1) * (end - start)
        return z, s0 + u * (s1 - s0), (end - start) / (s1 - s0).view(-1, 1, 1, 1), self.words[at]


@dataclass
class DreamBooth:
    iterations: int = 40
    rate: float = 1e-3
    name: ClassVar[str] = "dreambooth"
    stands_for: ClassVar[tuple[str, ...]] = ()
    sees: ClassVar[bool] = False

    def learn(self, world: World) -> float:
        return 0.0

    def parameters(self, world: World) -> int:
        return sum(value.numel() for value in self.start(world).values())

    def start(self, world: World) -> Weights:
        """What is trained, for a new identity."""
        return {
            name: value.detach().clone() for name, value in world.model.flow.named_parameters() if name != "pos_embed"
        }

    def weights(self, world: World, trained: Weights) -> Weights:
        """The flow's weights that follow from it."""
        return trained

    def tune(self, world: World, prior: Prior, latent: Tensor, words: Tensor) -> Weights:
        trained = {name: value.requires_grad_() for name, value in self.start(world).items()}
        optimizer = torch.optim.AdamW(trained.values(), self.rate, betas=(0.9, 0.99), weight_decay=0.01)
        context = torch.cat([words[:-1].expand(HALF, -1, -1), rare_word().expand(HALF, -1, -1)], 1)
        for step in range(self.iterations):
            optimizer.param_groups[0]["lr"] = self.rate * min(1, (step + 1) / 5, 2 * (1 - step / self.iterations))
            sigma = levels(HALF)
            z, target = mix(latent.expand(HALF, -1, -1, -1), sigma)
            others, their_sigma, theirs, said = prior.batch(HALF)
            with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                weights = self.weights(world, trained)

                def velocity(z, sigma, context, pooled, weights=weights):
                    inputs = {"y": pooled, "context": context}
                    return functional_call(world.model.flow, weights, (z, 1000 * sigma), inputs).float()

                mine = velocity(z, sigma, context, words[-1].expand(HALF, -1))
                kept = velocity(others, their_sigma, said[:, :-1], said[:, -1])
                loss = (mine - target).square().mean() + (kept - theirs).square().mean()
            gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
            for value, gradient in zip(trained.values(), gradients, strict=True):
                value.grad = gradient
            optimizer.step()
        return {name: value.detach() for name, value in self.weights(world, trained).items()}

    def answer(self, world: World, triples: Triples) -> Answer:
        torch.manual_seed(1)
        prior = Prior(world)
        learned, drawn, images = 0.0, 0.0, []
        for i in range(len(triples)):
            clock, one = Clock(), triples.part(slice(i, i + 1))
            latent, words = described(world, one.references)
            weights = self.tune(world, prior, latent, words[0])
            learned, clock = learned + clock.seconds, Clock()
            with torch.no_grad():
                images.append(world.decode(sample(TunedFlow(world, one.prompts, weights), one.noise)))
            drawn += clock.seconds
        return Answer(torch.cat(images), learned / len(triples), drawn / len(triples))
