"""Quadratic energies with scopes, and a flow that notes which of its windows are run and differentiated."""

from __future__ import annotations

import torch
from torch import Tensor

from rectifid_core.guidance.weighted_sum import NamedEnergy, Schedule, WeightedSum

from .worlds import SIZE, GaussianFlow, QuadraticEnergy, covariance, normal

WINDOWS = 4
HESSIANS = [covariance(seed, 0.2, 1.0) for seed in (4, 14, 24)]
CENTRES = [normal(SIZE, seed=seed) for seed in (5, 15, 25)]
MASK = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.25, 0.25], [0.0, 0.0, 0.25, 0.25]])
ON_LATENT = torch.tensor([[0.875, 0.0], [0.0, 0.25]], dtype=torch.float64)
HALF = torch.tensor([[1.0, 0.0]]).expand(4, 2).repeat_interleave(2, dim=1)  # the left half of 4 x 4
SHAPES = [(2, 3, 2, 2), (2, 3, 1, 2, 2)]


class Counting(torch.autograd.Function):
    """Nothing, but counts the vector-Jacobian products."""

    @staticmethod
    def forward(ctx, z, log, k):
        ctx.log, ctx.k = log, k
        return z.view_as(z)

    @staticmethod
    def backward(ctx, gradient):
        ctx.log.append(ctx.k)
        return gradient, None, None


class Watched:
    """A flow on latents of any shape: which windows ran, which were differentiated, and the offsets between them."""

    def __init__(self, flow) -> None:
        self.flow, self.ran, self.pulled, self.offsets = flow, [], [], []
        self.weight, self._end = flow.weight, None

    def __len__(self) -> int:
        return len(self.flow)

    def step(self, k: int, z: Tensor) -> Tensor:
        self.ran.append(k)
        if k > 0:
            self.offsets.append(z.detach() - self._end)
        flat = isinstance(self.flow, GaussianFlow)
        end = self.flow.step(k, z.flatten(1)).view_as(z) if flat else self.flow.step(k, z)
        self._end = end.detach()
        return Counting.apply(end, self.pulled, k)


def picture(z: Tensor) -> Tensor:
    return z.squeeze(2) if z.ndim == 5 else z


def quadratic(*scopes, weights=(1.0, 0.7, 2.0)):
    """The weighted sum of as many quadratic energies, each with its scope."""
    energies = map(QuadraticEnergy, HESSIANS, CENTRES)
    members = [NamedEnergy(str(n), energy) for n, (energy, _) in enumerate(zip(energies, scopes, strict=False))]
    schedules = {
        str(n): Schedule(weight, scope=scope) for n, (weight, scope) in enumerate(zip(weights, scopes, strict=False))
    }
    return WeightedSum(members, schedules, ["0"])


def start(shape=SHAPES[0]):
    z0 = normal(2, SIZE, seed=6).view(shape)
    return z0, list(0.3 * normal(WINDOWS, 2, SIZE, seed=8).view(WINDOWS, *shape))
