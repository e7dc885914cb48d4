"""Has the host, which plans for inference, make room for a backward."""

from __future__ import annotations

import comfy.model_management
from comfy.model_patcher import ModelPatcher
from comfy.sampler_helpers import estimate_memory
from comfy.samplers import CFGGuider
from comfy.sd import VAE
from torch import Tensor, nn

# Estimates.  What one transformer block keeps for its backward (counted for SD3.5 and FLUX), as a part of what the host
# reserves for a whole forward; and what a decoder keeps, as a multiple of what its forward needs.
_BLOCK = 0.25
_DECODER = 4


def load_together(guider: CFGGuider, others: list[ModelPatcher], needed: float) -> None:
    """Has the host load ``others`` (VAE, discriminator) beside what the guider runs, so that none evicts another.

    needed: bytes that stay free beside the weights.
    """
    models = [guider.model_patcher, *guider.loaded_models, *others]
    comfy.model_management.load_models_gpu(models, memory_required=needed)


def needed_memory(guider: CFGGuider, vae: VAE, latents: Tensor, windows: int) -> float:
    """Bytes for a forward and for the graph of ``windows`` model calls, or of the decoder if that is larger.

    latents: only their shape, ``(B, C, h, w)`` or with a frame axis, counts.
    """
    shape = latents.shape
    forward, _ = estimate_memory(guider.model_patcher, shape, guider.conds)
    flow = windows * _BLOCK * _blocks(guider.model_patcher.model.diffusion_model) * forward
    decoded = [shape[0], vae.latent_channels, *([1] * (vae.latent_dim - 2)), *shape[-2:]]
    return forward + max(flow, (_DECODER if windows else 1) * vae.memory_used_decode(decoded, vae.vae_dtype))


def _blocks(network: nn.Module) -> int:
    return sum(len(blocks) for blocks in network.modules() if isinstance(blocks, nn.ModuleList))
