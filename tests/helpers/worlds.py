"""Small worlds in float64 to check the method in: an affine one, where everything is known, and a curved one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rectifid_core.interfaces import Observation

SIZE = 12  # of a latent; its image is 3 x 2 x 2


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


class MinimalFlow:
    """A flow that has only what every flow must have; by itself one window that leaves the state as it is."""

    def __init__(self, step: Callable[[int, Tensor], Tensor] = lambda k, z: z + 0, windows: int = 1) -> None:
        self.step, self._windows = step, windows

    def __len__(self) -> int:
        return self._windows

    def weight(self, k: int) -> float:
        return 1.0


def pushed_together() -> MinimalFlow:
    """Two windows that push the state together."""
    return MinimalFlow(lambda k, z: z + 0.3 * torch.tanh(z), windows=2)


def covariance(seed: int, low: float, high: float) -> Tensor:
    """A full symmetric matrix with eigenvalues evenly from low to high."""
    q, _ = torch.linalg.qr(normal(SIZE, SIZE, seed=seed))
    return q @ torch.diag(torch.linspace(low, high, SIZE, dtype=torch.float64)) @ q.T


def power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values**exponent) @ vectors.T


class GaussianFlow:
    """The rectified flow of Gaussian data x ~ N(m, S): z = (1 - sigma) x + sigma noise, sigma from 1 to 0 in K windows.

    z ~ N((1 - sigma) m, C) with C = (1 - sigma)^2 S + sigma^2 I, hence the velocity in closed form

        v(z, sigma) = E[x - noise | z] = m + ((1 - sigma) S - sigma I) C^-1 (z - (1 - sigma) m)

    and, since all C commute, the flow's exact map from sigma to sigma'

        z' = (1 - sigma') m + C'^(1/2) C^(-1/2) (z - (1 - sigma) m).

    A window is this map (exact) or one Euler step.  Both are affine: F_k(z) = A_k z + b_k.
    """

    def __init__(self, windows: int, exact: bool, weight: float = 1.0) -> None:
        self.mean, self.covariance = normal(SIZE, seed=1), covariance(2, 0.5, 1.5)
        self.sigmas = torch.linspace(1, 0, windows + 1, dtype=torch.float64).tolist()
        self.exact = exact
        self._weight = weight
        self.affine = [self._window(k) for k in range(windows)]

    def covariance_at(self, sigma: float) -> Tensor:
        return (1 - sigma) ** 2 * self.covariance + sigma**2 * torch.eye(SIZE, dtype=torch.float64)

    def velocity(self, sigma: float) -> tuple[Tensor, Tensor]:
        """v(z, sigma) = V z + u."""
        cross = (1 - sigma) * self.covariance - sigma * torch.eye(SIZE, dtype=torch.float64)
        matrix = cross @ torch.linalg.inv(self.covariance_at(sigma))
        return matrix, self.mean - (1 - sigma) * matrix @ self.mean

    def _window(self, k: int) -> tuple[Tensor, Tensor]:
        start, end = self.sigmas[k : k + 2]
        if self.exact:
            matrix = power(self.covariance_at(end), 0.5) @ power(self.covariance_at(start), -0.5)
            return matrix, (1 - end) * self.mean - (1 - start) * matrix @ self.mean
        matrix, shift = self.velocity(start)
        return torch.eye(SIZE, dtype=torch.float64) + (start - end) * matrix, (start - end) * shift

    def __len__(self) -> int:
        return len(self.affine)

    def step(self, k: int, z: Tensor) -> Tensor:
        matrix, shift = self.affine[k]
        return z @ matrix.T + shift

    def weight(self, k: int) -> float:
        return self._weight

    def end_displacement(self, k: int, z: Tensor) -> Tensor:
        start, end = self.sigmas[k : k + 2]
        matrix, shift = self.velocity(end)
        return (start - end) * (z @ matrix.T + shift)

    def predict(self, k: int, z: Tensor) -> tuple[Tensor, Tensor]:
        matrix, shift = self.velocity(self.sigmas[k])
        return self.step(k, z), z + self.sigmas[k] * (z @ matrix.T + shift)

    def downstream(self, k: int) -> Tensor:
        """P_k = A_(K-1) ... A_k: what a change of z_k does to z_K.  P_K = I."""
        product = torch.eye(SIZE, dtype=torch.float64)
        for matrix, _ in self.affine[k:]:
            product = matrix @ product
        return product

    def end(self, z: Tensor) -> Tensor:
        for k in range(len(self)):
            z = self.step(k, z)
        return z


class CurvedFlow(nn.Module):
    """A nonlinear flow of K windows on images of 3 x 4 x 4, with parameters; its windows have different weights."""

    def __init__(self, windows: int = 4) -> None:
        super().__init__()
        mix = 0.3 * normal(windows, 48, 48, seed=3)
        self.mix = nn.Parameter(mix)

    def __len__(self) -> int:
        return len(self.mix)

    def step(self, k: int, z: Tensor) -> Tensor:
        return z + torch.tanh(z.flatten(1) @ self.mix[k]).view_as(z) / len(self)

    def weight(self, k: int) -> float:
        return 0.8 + 0.1 * k

    def end_displacement(self, k: int, z: Tensor) -> Tensor:
        return torch.tanh(z.flatten(1) @ self.mix[k]).view_as(z) / len(self)

    def predict(self, k: int, z: Tensor) -> tuple[Tensor, Tensor]:
        end = self.step(k, z)
        return end, z + (len(self) - k) * (end - z)


class QuadraticEnergy:
    """(x - c)^T H (x - c) / 2 of the flat image x."""

    def __init__(self, hessian: Tensor, centre: Tensor) -> None:
        self.hessian, self.centre = hessian, centre

    def __call__(self, image: Tensor, iteration: int) -> Observation:
        x = image.flatten(1) - self.centre
        energy = (x @ self.hessian * x).sum(dim=1) / 2
        return Observation(energy, -energy.detach())


class CurvedEnergy:
    """Nonlinear, and its gradient is longer than the norm 1 for some windows and shorter for others."""

    def __call__(self, image: Tensor, iteration: int) -> Observation:
        energy = 0.37 * (3 * image - 2).cos().flatten(1).sum(dim=1)
        return Observation(energy, -energy.detach())


class Brightness:
    """Guidance without a network: to black."""

    networks = []

    def energy(self, views=4, seed=0):
        def observe(image, iteration):
            value = image.flatten(1).mean(dim=1)
            return Observation(value, 1 - value.detach())

        return observe


def flat_image(z: Tensor) -> Tensor:
    return z.view(-1, 3, 2, 2)
