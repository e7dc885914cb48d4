"""The host's MODEL, under its guider, as the flow of its family: one window per step of the sampler."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from comfy.k_diffusion.sampling import default_noise_sampler
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_sampling import CONST
from comfy.samplers import KSamplerX0Inpaint
from torch import Tensor

from ....rectifid_core.flows.perflow import TRAIN_STEPS, PeRFlow
from ....rectifid_core.flows.sigmas import ConsistencyFlow, EulerFlow, StraightFlow
from ..gradient.patches import names_of_patches
from ..gradient.watch import ModelWatch


class Denoiser:
    """A noisy latent x and its sigma to the clean latent: the host's MODEL with its conditionings, cfg and mask.

    model: the host's, with its guider, whose conditionings are ready; sigmas: ``(K + 1,)``, falling; options: what
    the host hands to a sampler function with them.  An interrupt is raised before each forward of the model, and
    between the backwards of two.
    """

    def __init__(self, model: KSamplerX0Inpaint, sigmas: Tensor, options: dict[str, Any]):
        guider = model.inner_model
        self.sampling = guider.inner_model.model_sampling
        self.sigmas = sigmas
        self.seed = options.get("seed")
        patches = names_of_patches(options["model_options"], guider.model_patcher)
        self._watch = ModelWatch(self.sampling, patches)
        self._guided = not torch.is_inference_mode_enabled()
        self._patched = bool(patches)
        self._model, self._options = model, options

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
        if self._patched:  # nothing else remembers or draws
            self._watch.compare(x, sigma, answer)
        return answer

    def _answer(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._model(x, sigma * x.new_ones(len(x)), **self._options)

    @property
    def end_mask(self) -> Tensor | None:
        """Where, and how much, the last window changes the latent, in [0, 1]: that of a `VAEDecoder`.

        The host may make a mask of its own for each sigma out of the given one: DifferentialDiffusion's is 1 from a
        threshold on and 0 below.  Earlier windows need none: what their masks keep, has no gradient.
        """
        mask, options = self._options["denoise_mask"], self._options["model_options"]
        if mask is None or "denoise_mask_function" not in options:
            return mask
        sigma = self.sigmas[-2] * mask.new_ones(len(mask))
        about = {"model": self._model.inner_model, "sigmas": self.sigmas}
        return options["denoise_mask_function"](sigma, mask, extra_options=about)

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


def euler(denoise: Denoiser) -> EulerFlow:
    """As the host's `sample_euler`; of a diffusion model."""
    return EulerFlow(denoise, denoise.sigmas, denoise.scale(denoise.sigmas))


def straight(denoise: Denoiser) -> StraightFlow:
    """As the host's `sample_euler`, to the bit; of a rectified flow."""
    return StraightFlow(denoise, denoise.sigmas, denoise.scale(denoise.sigmas), denoise.sampling.sigma_min)


def consistency(denoise: Denoiser, noise: Tensor) -> ConsistencyFlow:
    """As the host's `sample_lcm`, with the noise that this draws from the run's seed."""
    draw, sigmas = default_noise_sampler(noise, seed=denoise.seed), denoise.sigmas
    noises = [draw(*pair) if pair[1] > 0 else None for pair in itertools.pairwise(sigmas)]
    return ConsistencyFlow(denoise, sigmas, denoise.scale(sigmas), noises, denoise.sampling.noise_scaling)


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
