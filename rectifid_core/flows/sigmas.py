"""Flows in noise levels: windows between sigmas, by a network that tells the clean latent of a noisy one.

With D(x, sigma) the clean latent, the probability flow has the velocity

    (1)  dx/dsigma = (x - D(x, sigma)) / sigma

A state is z = x / scale(sigma): x itself for a rectified flow, and x / sqrt(1 + sigma^2), of unit variance, for a
diffusion model, so that an offset of one size means the same in every window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x, sigma) -> D(x, sigma): ``(B, ...)`` of ``(B, ...)`` and a scalar


class SigmaFlow:
    """K windows between K + 1 sigmas.

    sigmas: ``(K + 1,)``, falling, the last may be 0; scales: ``(K + 1,)``, x / z at each.
    """

    def __init__(self, denoise: Denoise, sigmas: Tensor, scales: Tensor) -> None:
        self._denoise = denoise
        self._sigmas = sigmas
        self._scales = scales

    def __len__(self) -> int:
        return len(self._sigmas) - 1

    def weight(self, k: int) -> float:
        return 1.0


class EulerFlow(SigmaFlow):
    """The probability flow, by Euler's method."""

    def step(self, k: int, z: Tensor) -> Tensor:
        x = z * self._scales[k]
        x = x + self._velocity(x, self._sigmas[k]) * (self._sigmas[k + 1] - self._sigmas[k])
        return x / self._scales[k + 1]

    def _velocity(self, x: Tensor, sigma: Tensor) -> Tensor:
        return (x - self._denoise(x, sigma)) / sigma.reshape((1,) * x.ndim)  # (1)


class StraightFlow(EulerFlow):
    """The Euler flow of a rectified flow, z = x = (1 - sigma) image + sigma noise.

    It has a velocity at its end too, and foresees where it leads.

    smallest: the smallest sigma that the network was trained on, where its velocity at sigma 0 is read.
    """

    def __init__(self, denoise: Denoise, sigmas: Tensor, scales: Tensor, smallest: Tensor) -> None:
        super().__init__(denoise, sigmas, scales)
        self._smallest = smallest.to(sigmas)

    def predict(self, k: int, z: Tensor) -> tuple[Tensor, Tensor]:
        velocity = self._velocity(z, self._sigmas[k])
        here, window_end, end = self._sigmas[k], self._sigmas[k + 1], self._sigmas[-1]
        return z + velocity * (window_end - here), z + velocity * (end - here)

    def end_displacement(self, k: int, z: Tensor) -> Tensor:
        end = self._sigmas[k + 1]
        return self._velocity(z, end.maximum(self._smallest)) * (end - self._sigmas[k])


class ConsistencyFlow(SigmaFlow):
    """Predicts the clean latent, and noises it again to the next sigma, with noise that is the same in every iteration.

    noises: of each window, ``(B, ...)``, or None where it ends at sigma 0.
    add_noise: ``(sigma, noise, clean latent) -> x``.
    """

    def __init__(
        self,
        denoise: Denoise,
        sigmas: Tensor,
        scales: Tensor,
        noises: Sequence[Tensor | None],
        add_noise: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__(denoise, sigmas, scales)
        self._noises = list(noises)
        self._add_noise = add_noise

    def step(self, k: int, z: Tensor) -> Tensor:
        x = self._denoise(z * self._scales[k], self._sigmas[k])
        noise = self._noises[k]
        if noise is not None:
            x = self._add_noise(self._sigmas[k + 1], noise, x)
        return x / self._scales[k + 1]
