"""The host's MODEL, under its guider, as a rectified flow: one window per step of its Euler sampler."""

from __future__ import annotations

from typing import Any

from comfy.k_diffusion.sampling import to_d
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.samplers import CFGGuider, KSamplerX0Inpaint
from torch import Tensor


class EulerFlow:
    """K windows between K + 1 sigmas.  The arithmetic is the host's own `sample_euler`, to the bit.

    guider: the host's, with its conditionings ready; sigmas: ``(K + 1,)``, falling; options: what the host hands to a
    sampler function.  An interrupt is raised before each forward of the model, and between the backwards of two.
    """

    def __init__(
        self,
        guider: CFGGuider,
        sigmas: Tensor,
        options: dict[str, Any],
        noise: Tensor,
        latent: Tensor,
        denoise_mask: Tensor | None,
    ):
        self._model = KSamplerX0Inpaint(guider, sigmas)
        self._model.noise, self._model.latent_image = noise, latent
        self._options = {**options, "denoise_mask": denoise_mask}
        self._sigmas = sigmas
        self._smallest_sigma = guider.inner_model.model_sampling.sigma_min.to(sigmas)

    def __len__(self) -> int:
        return len(self._sigmas) - 1

    def weight(self, k: int) -> float:
        return 1.0

    def step(self, k: int, z: Tensor) -> Tensor:
        sigma = self._sigmas[k]
        return z + self._velocity(z, sigma) * (self._sigmas[k + 1] - sigma)

    def end_displacement(self, k: int, z: Tensor) -> Tensor:
        # the model's velocity at sigma 0 is read at the smallest sigma that it was trained on
        end = self._sigmas[k + 1]
        return self._velocity(z, end.maximum(self._smallest_sigma)) * (end - self._sigmas[k])

    def _velocity(self, z: Tensor, sigma: Tensor) -> Tensor:
        throw_exception_if_processing_interrupted()
        if z.requires_grad:
            z.register_hook(_check_before_earlier_windows)
        denoised = self._model(z, sigma * z.new_ones(len(z)), **self._options)
        return to_d(z, sigma, denoised)


def _check_before_earlier_windows(gradient: Tensor) -> None:
    throw_exception_if_processing_interrupted()
