"""Tells the host, which plans for inference, what a guided sampling needs in memory."""

from __future__ import annotations

import math

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.sd import VAE
from torch import nn

_KEY = "rectifid"
# Estimates.  What one transformer block keeps for its backward (counted for SD3.5 and FLUX), as a part of what the host
# reserves for a whole forward; and what a decoder keeps, as a multiple of what its forward needs.
_BLOCK = 0.25
_DECODER = 4


def load_together(model: ModelPatcher, others: list[ModelPatcher]) -> None:
    """Has the host load ``others`` (VAE, discriminator) in the same call as ``model``, so that none evicts another."""
    model.set_additional_models(_KEY, others)


def reserve_backward(model: ModelPatcher, vae: VAE, windows: int) -> None:
    """Has the host keep memory free for the graph of ``windows`` model calls, or of the decoder if that is larger."""

    def reserve(executor, patcher, noise_shape, *args, **kwargs):
        batch, *shape = noise_shape
        forward = patcher.model.memory_required([2 * batch, *shape])
        flow = windows * _BLOCK * _blocks(patcher.model.diffusion_model) * forward
        latent_shape = [batch, vae.latent_channels, *([1] * (vae.latent_dim - 2)), *shape[-2:]]
        decoder = _DECODER * vae.memory_used_decode(latent_shape, vae.vae_dtype)
        factor = math.ceil(1 + max(flow, decoder) / forward)
        return executor(patcher, [factor * batch, *shape], *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, _KEY, reserve)


def _blocks(network: nn.Module) -> int:
    return sum(len(blocks) for blocks in network.modules() if isinstance(blocks, nn.ModuleList))
