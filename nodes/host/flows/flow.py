"""The host's MODEL, under its guider, as the flow of its family: one window per step of the sampler.

A state z is what the network sees: the host's noisy latent x for a flow, and x / sqrt(1 + sigma^2), of unit variance,
for a diffusion model.  So an offset of one size means the same in every window.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from comfy.k_diffusion.sampling import default_noise_sampler, to_d
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_sampling import CONST
from comfy.samplers import CFGGuider, KSamplerX0Inpaint
from torch import Tensor

from ....rectifid_core.flows.perflow import TRAIN_STEPS, PeRFlow
from ..gradient.patches import names_of_patches
from ..gradient.watch import ModelWatch


class Denoiser:
    """A noisy latent x and its sigma to the clean latent: the host's MODEL with its conditionings, cfg and mask.

    guider: the host's, with its conditionings ready; sigmas: ``(K + 1,)``, falling; options: what the host hands to a
    sampler function.  An interrupt is raised before each forward of the model, and between the backwards of two.
    """

    def __init__(
        self,
        guider: CFGGuider,
        sigmas: Tensor,
        options: dict[str, Any],
        noise: Tensor,
        latent: Tensor | None,
        denoise_mask: Tensor | None,
    ):
        self.sampling = guider.inner_model.model_sampling
        self.sigmas = sigmas
        self.seed = options.get("seed")
        patches = names_of_patches(options["model_options"], guider.model_patcher)
        self._watch = ModelWatch(self.sampling, patches)
        self._guided = not torch.is_inference_mode_enabled()
        self._patched = bool(patches)
        self._model = KSamplerX0Inpaint(guider, sigmas)
        vars(self._model).update(noise=noise, latent_image=latent)  # the host declares neither
        self._options = {**options, "denoise_mask": denoise_mask}

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        throw_exception_if_processing_interrupted()
        if not self._guided:
            return self._answer(x, sigma)
        with ExitStack() as stack:
            if self._patched:
                stack.enter_context(_seeded(self.seed or 0, sigma, x.device))
            if x.requires_grad:
                stack.enter_context(self._watch.gradient_expected(x))
                x.register_hook(_check_before_earlier_windows)
            answer = self._answer(x, sigma)
        self._watch.compare(x, sigma, answer)
        return answer

    def _answer(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._model(x, sigma * x.new_ones(len(x)), **self._options)

    def scale(self, sigma: Tensor) -> Tensor:
        """x / z at this sigma."""
        return torch.ones_like(sigma) if isinstance(self.sampling, CONST) else (1 + sigma**2).sqrt()


@contextmanager
def _seeded(seed: int, sigma: Tensor, device: torch.device) -> Iterator[None]:
    """What a patch draws from the common generators is the same whenever the model is asked at this sigma."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(hash((seed, float(sigma))) % 2**63)
        yield


def _check_before_earlier_windows(gradient: Tensor) -> None:
    throw_exception_if_processing_interrupted()


class _SigmaFlow:
    """K windows between K + 1 sigmas."""

    def __init__(self, denoise: Denoiser):
        self._denoise = denoise
        self._sigmas = denoise.sigmas
        self._scales = denoise.scale(denoise.sigmas)

    def __len__(self) -> int:
        return len(self._sigmas) - 1

    def weight(self, k: int) -> float:
        return 1.0


class EulerFlow(_SigmaFlow):
    """The probability flow, by Euler's method: the arithmetic of the host's `sample_euler`, for flows to the bit."""

    def step(self, k: int, z: Tensor) -> Tensor:
        x = z * self._scales[k]
        x = x + self._velocity(x, self._sigmas[k]) * (self._sigmas[k + 1] - self._sigmas[k])
        return x / self._scales[k + 1]

    def _velocity(self, x: Tensor, sigma: Tensor) -> Tensor:
        return to_d(x, sigma, self._denoise(x, sigma))


class StraightFlow(EulerFlow):
    """The Euler flow of a MODEL with z = (1 - sigma) image + sigma noise.

    It has a velocity at its end too, and foresees where it leads.
    """

    def predict(self, k: int, z: Tensor) -> tuple[Tensor, Tensor]:
        velocity = self._velocity(z, self._sigmas[k])
        here, window_end, end = self._sigmas[k], self._sigmas[k + 1], self._sigmas[-1]
        return z + velocity * (window_end - here), z + velocity * (end - here)

    def end_displacement(self, k: int, z: Tensor) -> Tensor:
        # the model's velocity at sigma 0 is read at the smallest sigma that it was trained on
        end = self._sigmas[k + 1]
        smallest = self._denoise.sampling.sigma_min.to(self._sigmas)
        return self._velocity(z, end.maximum(smallest)) * (end - self._sigmas[k])


class ConsistencyFlow(_SigmaFlow):
    """Predicts the clean latent and noises it again, as the host's `lcm`, with noise drawn once from the seed.

    So the map is the same in every iteration.
    """

    def __init__(self, denoise: Denoiser, noise: Tensor):
        super().__init__(denoise)
        draw = default_noise_sampler(noise, seed=denoise.seed)
        self._noise = [
            draw(*pair) if pair[1] > 0 else None for pair in zip(self._sigmas, self._sigmas[1:], strict=False)
        ]

    def step(self, k: int, z: Tensor) -> Tensor:
        x = self._denoise(z * self._scales[k], self._sigmas[k])
        if self._noise[k] is not None:
            x = self._denoise.sampling.noise_scaling(self._sigmas[k + 1], self._noise[k], x)
        return x / self._scales[k + 1]


def perflow(denoise: Denoiser) -> PeRFlow:
    """The flow of a MODEL whose sampling `PeRFlowSampling` tells, at the times of the denoiser's sigmas."""
    sampling = denoise.sampling
    times = [sampling.time(sigma) for sigma in denoise.sigmas]

    def predict(z: Tensor, t: float) -> Tensor:
        sigma = sampling.sigmas[round(TRAIN_STEPS * t) - 1].to(z)
        x = z * denoise.scale(sigma)
        return (x - denoise(x, sigma)) / sigma  # what the network said, out of the host's convention

    return PeRFlow(
        predict,
        1 / (1 + sampling.sigmas.cpu().double() ** 2),  # not every device has float64
        times,
        windows=sampling.windows,
        prediction=sampling.prediction,
        weights=sampling.weights,
    )
