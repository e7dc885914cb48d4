"""The solver in the place of one of the host's samplers.

The host's guider prepares everything (weights, hooks, ControlNets, masks, regions, wrappers) and then runs it as it
runs `euler`, so that all of it passes through.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from torch import Tensor

from ...rectifid_core.interfaces import Energy
from ...rectifid_core.solver import CLIPPED, Best, Iterate, solve
from .autograd import differentiable, normal
from .decoder import VAEDecoder, refuse_other_vaes
from .discriminator import fully_loaded
from .family import flow_of, sigmas_of
from .flow import Denoiser
from .memory import load_together, reserve_backward
from .model import differentiable_clone, refuse_changing_weights, resident

LOSS_SCALE = 1024.0  # for float16, at first
SCALE_UNITS = ("latent", "published")
_PUBLISHED_NUMBERS = 4 * 64 * 64  # in a latent of the published model: a clipped gradient of norm 1 was made for it
_RATIOS = ("downscale_ratio_spacial", "downscale_ratio_temporal")  # newer hosts put them into an empty latent


def sample(
    model: ModelPatcher,
    vae: VAE,
    positive: list,
    negative: list,
    latent: dict[str, Any],
    energy: Energy,
    networks: list[ModelPatcher],
    *,
    seed: int,
    steps: int,
    cfg: float,
    scheduler: str,
    denoise: float,
    family: str,
    scale: float,
    scale_unit: str = SCALE_UNITS[0],
    keep: str,
    on_iterate: Callable[[Iterate, Best], bool],
    **settings: Any,
) -> tuple[dict[str, Any], Tensor]:
    """KSampler, guided: the host's LATENT and its decoded image, ``(B, 3, H, W)`` in [0, 1].

    scale, scale_unit: the solver's scale for a latent of 16384 numbers; "latent" makes it mean the same for any other,
    by sqrt(numbers / 16384), where gradients are clipped; "published" takes it as it is.
    family: from `family_of`; a flow or diffusion model runs as by KSampler's `euler`, a consistency model as by `lcm`.
    energy, and the ``networks`` that it runs; keep: "best" or "last" iterate; on_iterate: called with each iterate and
    the best so far, True ends the run; settings: the solver's.  With ``iterations=0`` the latent is KSampler's, for a
    flow to the bit.

    Raises ValueError, in a user's words, for a VAE or latent that cannot be guided.
    """
    refuse_other_vaes(vae, model)
    samples = _prepare_latent(model, latent)
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))

    guided = settings["iterations"] > 0
    model = differentiable_clone(model) if guided else model.clone()
    autoencoder = resident(vae.patcher) if guided else vae.patcher
    load_together(model, [autoencoder, *networks])
    sigmas = sigmas_of(model, family, steps, scheduler, denoise)
    if guided:
        reserve_backward(model, vae, len(sigmas) - 1 if settings["gradient"] == "full" else 1)

    settings["scale"] = scale * _size(samples) if scale_unit == "latent" and settings["rule"] in CLIPPED else scale
    sampler = AnchoredSampler(family, vae, autoencoder, energy, networks, keep, on_iterate, settings)
    samples = comfy.sample.sample_custom(
        model, noise, cfg, sampler, sigmas, positive, negative, samples, latent.get("noise_mask"), seed=seed
    )
    latent = {key: value for key, value in latent.items() if key not in _RATIOS}
    return {**latent, "samples": samples}, sampler.image


class AnchoredSampler(comfy.samplers.Sampler):
    """After the guider has run it, ``image`` is what the returned latent decodes to, ``(B, 3, H, W)`` in [0, 1]."""

    image: Tensor

    def __init__(self, family, vae, autoencoder, energy, networks, keep, on_iterate, settings):
        self._family = family
        self._vae, self._autoencoder = vae, autoencoder
        self._energy, self._networks = energy, networks
        self._keep, self._on_iterate = keep, on_iterate
        self._settings = settings

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        guided = self._settings["iterations"] > 0
        if guided:
            refuse_changing_weights(model_wrap)
        for network in self._networks:
            fully_loaded(network)
        loaded = [patcher.model for patcher in (model_wrap.model_patcher, *model_wrap.loaded_models)]
        with differentiable(loaded) if guided else nullcontext():
            model_wrap.conds = normal(model_wrap.conds)
            sigmas, noise, latent_image, denoise_mask = normal((sigmas, noise, latent_image, denoise_mask))
            model_sampling = model_wrap.inner_model.model_sampling
            denoiser = Denoiser(model_wrap, sigmas, extra_args, noise, latent_image, denoise_mask)
            flow = flow_of(self._family, denoiser, noise)
            x0 = model_sampling.noise_scaling(sigmas[0], noise, latent_image, self.max_denoise(model_wrap, sigmas))
            z0 = x0 / denoiser.scale(sigmas[0])
            decode = VAEDecoder(self._vae, self._autoencoder.model, model_wrap.inner_model)
            best = Best()
            scale = LOSS_SCALE if torch.float16 in self._computed_in(model_wrap.inner_model) else 1.0
            for iterate in solve(flow, decode, self._energy, z0, loss_scale=scale, **self._settings):
                best.update(iterate)
                if self._on_iterate(iterate, best):
                    break
            kept = best if self._keep == "best" else iterate
            self.image = kept.image
            return model_sampling.inverse_noise_scaling(sigmas[-1], kept.latent)

    def _computed_in(self, model: BaseModel) -> set[torch.dtype]:
        """In which types the networks of a gradient compute."""
        discriminators = {parameter.dtype for each in self._networks for parameter in each.model.parameters()}
        return {model.manual_cast_dtype or model.get_dtype(), self._vae.vae_dtype, *discriminators}


def _size(samples: Tensor) -> float:
    """A latent's norm, by the number of its numbers, in units of the published model's."""
    return math.sqrt(samples[0].numel() / _PUBLISHED_NUMBERS)


def _prepare_latent(model: ModelPatcher, latent: dict[str, Any]) -> Tensor:
    """The latent as KSampler takes it; raises ValueError for one that is not an image of this model."""
    samples = latent["samples"]
    if samples.is_nested or samples.ndim not in (4, 5) or (samples.ndim == 5 and samples.shape[2] > 1):
        raise ValueError("This latent is a video or a sound; guidance works on images. Use a latent of one frame.")
    samples = comfy.sample.fix_empty_latent_channels(
        model, samples, **{ratio: latent[ratio] for ratio in _RATIOS if ratio in latent}
    )
    channels = model.get_model_object("latent_format").latent_channels
    if samples.shape[1] != channels:
        raise ValueError(
            f"The latent has {samples.shape[1]} channels and the model works on {channels}. Encode the image with the "
            "VAE that belongs to the model, or use an empty latent."
        )
    return samples
