"""What the methods share that learn something in the place of a word, while the flow stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from world import PromptedFlow, World

from rivals.basis import levels, mix

Join = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # what was read (n, 9, 192) and codes -> context, pooled
PER_PERSON = 4  # noise levels of a step: one in each window


class WordedFlow(PromptedFlow):
    """The flow of given prompts, into each of which a code is joined."""

    def __init__(self, world: World, prompts: list[str], codes: Tensor, join: Join):
        super().__init__(world, world.tokens(prompts))
        self.context, self.pooled = join(torch.cat([self.context, self.pooled[:, None]], 1), codes)


def learn_codes(
    world: World,
    latents: Tensor,
    words: Tensor,
    codes: Tensor,
    join: Join,
    iterations: int,
    rate: float,
    chunk: int = 16,
) -> Tensor:
    """For each person a code with which the flow draws the picture that latents (n, 16, 16, 16) and a caption, read as
    words (n, 9, 192), are of; from the given codes (n, ...) on.

    People are learned side by side: no code takes part in the loss of another, and Adam treats each number by itself.
    """
    learned = []
    for rows in torch.arange(len(codes)).split(chunk):
        code = codes[rows].clone().requires_grad_()
        optimizer = torch.optim.Adam([code], rate)
        x, read = (each[rows].repeat_interleave(PER_PERSON, 0) for each in (latents, words))
        for step in range(iterations):
            optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / iterations)) / 2
            sigma = levels(len(x))
            z, target = mix(x, sigma)
            with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                context, pooled = join(read, code.repeat_interleave(PER_PERSON, 0))
                velocity = world.model.flow(z, 1000 * sigma, y=pooled, context=context).float()
                loss = (velocity - target).square().flatten(1).mean(1).sum() / PER_PERSON
            (code.grad,) = torch.autograd.grad(loss, code)
            optimizer.step()
        learned.append(code.detach())
    return torch.cat(learned)


def new_word(words: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (n, k + 1, 192): k context vectors more, and what the word adds to the pooled one."""
    return torch.cat([words[:, :-1], codes[:, :-1]], 1), words[:, -1] + codes[:, -1]


def class_word(world: World, n: int, vectors: int) -> Tensor:
    """Codes to begin with, (n, vectors + 1, 192): the mean of what "a person" says, and nothing for the pooled one."""
    context, pooled = world.model.text(torch.tensor([world.tokenize("a person")]))
    return torch.cat(
        [context.mean(1, keepdim=True).expand(1, vectors, -1), torch.zeros_like(pooled)[:, None]], 1
    ).repeat(n, 1, 1)
