"""The gradient of a job's energy beside finite differences along it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEP = 1e-2  # in the latent; much smaller ones drown in float32


def slopes() -> tuple[Callable, list[tuple[Tensor, float]]]:
    """A probe for `look_inside`, and for each run the gradient with respect to the start and the slope along it."""
    measured: list[tuple[Tensor, float]] = []

    def probe(flow, decode, energy, z0):
        def value(z):
            for k in range(len(flow)):
                z = flow.step(k, z)
            return energy(decode(z), 0).energy.sum()

        z = z0.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(value(z), z)
        direction = gradient / gradient.norm()
        with torch.no_grad():
            difference = (value(z0 + STEP * direction) - value(z0 - STEP * direction)) / (2 * STEP)
        measured.append((gradient, difference.item()))

    return probe, measured
