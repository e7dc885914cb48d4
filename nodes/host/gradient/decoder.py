"""The host's VAE as a differentiable decoder, without `VAE.decode`, which loads models and may fall back to tiles."""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_base import BaseModel
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from torch import Tensor

from ....rectifid_core.interfaces import CutGradientError


def refuse_other_vaes(vae: VAE, model: ModelPatcher) -> None:
    """Raises ValueError unless ``vae`` decodes this MODEL's latents to RGB images."""
    vae.throw_exception_if_invalid()
    channels = model.get_model_object("latent_format").latent_channels
    if vae.latent_channels != channels or vae.output_channels != 3:
        raise ValueError(
            f"This VAE turns latents of {vae.latent_channels} channels into {vae.output_channels} channels, and the "
            f"model makes latents of {channels} channels for RGB images. Connect the VAE that belongs to the model."
        )


class VAEDecoder:
    """The sampler's latent, ``(B, C, h, w)`` or ``(B, C, 1, h, w)``, to an image ``(B, 3, H, W)`` in [0, 1].

    autoencoder: the network of ``vae``, loaded; model: its latent format is the sampler's.
    mask: where the host denoises in the last window (`Denoiser.end_mask`), in [0, 1], broadcasting to the latent.
        Elsewhere it keeps the latent, which has no gradient there, so that guidance does not change it; where a soft
        mask keeps a part of it, that part of the gradient is left out.
    """

    def __init__(self, vae: VAE, autoencoder: Any, model: BaseModel, mask: Tensor | None = None):
        self._vae, self._autoencoder, self._model, self._mask = vae, autoencoder, model, mask
        # what the VAE does to its output is clamp(a * x + b): almost always (x + 1) / 2, for some x itself
        zero, half = vae.process_output(torch.tensor([0.0, 0.5])).tolist()
        self._scale, self._shift = 2 * (half - zero), zero

    def __call__(self, z: Tensor) -> Tensor:
        throw_exception_if_processing_interrupted()
        if self._mask is not None:
            z = torch.lerp(z.detach(), z, self._mask)
        latent = self._model.process_latent_out(z).to(self._vae.device, self._vae.vae_dtype)
        if self._vae.latent_dim == 3 and latent.ndim == 4:
            latent = latent.unsqueeze(2)
        elif self._vae.latent_dim == 2 and latent.ndim == 5:
            latent = latent.squeeze(2)
        pixels = self._autoencoder.decode(latent).float()
        if latent.requires_grad and not pixels.requires_grad:
            raise CutGradientError(
                "No gradient comes through the VAE, so that guidance would do nothing: something runs it without "
                "autograd. Use another VAE, or take away what changes it (tiled decoding, a compiled VAE)."
            )
        if pixels.ndim == 5:
            pixels = pixels[:, :, 0]
        return _Clamp.apply(pixels * self._scale + self._shift).to(z.device)


class _Clamp(torch.autograd.Function):
    """Clamps to [0, 1] and hands the gradient through: a pixel that is too bright may still become darker."""

    @staticmethod
    def forward(ctx: Any, image: Tensor) -> Tensor:
        return image.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient
