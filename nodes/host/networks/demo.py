"""The embedded model as the host's MODEL, CLIP, VAE and CLIP_VISION, so that the host's own nodes work with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import comfy.clip_vision
import comfy.sd
import comfy.utils
import torch
from comfy.model_management import intermediate_device, vae_offload_device
from comfy.model_patcher import ModelPatcher
from comfy.sd1_clip import SD1Tokenizer
from comfy.supported_models_base import ClipTarget
from torch import Tensor, nn

from ....demo.autoencoder import LATENT_CHANNELS, Autoencoder
from ....demo.text_encoder import TextEncoder

WEIGHTS = Path(__file__).parents[3] / "demo" / "weights"
DOWNSCALE = 8
_DTYPE = torch.float32  # it is small, and so draws the same picture on every machine
_DECODER_BYTES = 8 * 2**10  # what one pixel of a decode takes, roughly


def weights(name: str) -> Path:
    """The file ``name`` of the embedded model; raises FileNotFoundError where the pack was installed without it."""
    path = WEIGHTS / name
    if not path.is_file():
        raise FileNotFoundError(
            f"The embedded model is incomplete: {path} is missing. Install the whole pack again, or use another model."
        )
    return path


def load_model() -> ModelPatcher:
    """The embedded flow as MODEL."""
    return flow_from_state(_read("flow.safetensors"))


def load_clip() -> comfy.sd.CLIP:
    """The embedded text encoder as CLIP."""
    return clip_from_network(TextEncoder.from_state_dict(_read("text_encoder.safetensors")))


def load_vae() -> comfy.sd.VAE:
    """The embedded autoencoder as VAE."""
    autoencoder = Autoencoder()
    autoencoder.load_state_dict(_read("autoencoder.safetensors"))
    return vae_from_network(autoencoder)


def load_clip_vision() -> comfy.clip_vision.ClipVisionModel:
    """The embedded CLIP vision model."""
    clip_vision = comfy.clip_vision.ClipVisionModel(str(weights("clip_vision.json")))
    clip_vision.load_sd(_read("clip_vision.safetensors"))
    return clip_vision


def _read(name: str) -> dict[str, Tensor]:
    return cast(dict[str, Tensor], comfy.utils.load_torch_file(str(weights(name))))


def flow_from_state(state: dict[str, Tensor]) -> ModelPatcher:
    """MODEL from the host's own SD3 class; hosts that page weights find in it how to load it again."""

    def load(**options: Any) -> ModelPatcher:
        model = comfy.sd.load_diffusion_model_state_dict(dict(state), model_options={"dtype": _DTYPE}, **options)
        return cast(ModelPatcher, model)  # None is for weights that the host does not know

    model = load()
    vars(model).update(cached_patcher_init=(load, ()))
    return model


def vae_from_network(autoencoder: Autoencoder) -> comfy.sd.VAE:
    """The host's VAE object around our network; it starts as the host's pixel-space VAE, which has nothing to undo."""
    vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.ones(())}, dtype=_DTYPE)
    vars(vae).update(first_stage_model=autoencoder.eval().to(_DTYPE))
    vae.patcher = ModelPatcher(autoencoder, load_device=vae.device, offload_device=vae_offload_device())
    vae.latent_channels = LATENT_CHANNELS
    vae.downscale_ratio = vae.upscale_ratio = DOWNSCALE
    vae.memory_used_encode = lambda shape, dtype: shape[2] * shape[3] * _DECODER_BYTES
    vae.memory_used_decode = lambda shape, dtype: shape[2] * shape[3] * DOWNSCALE**2 * _DECODER_BYTES
    return vae


def clip_from_network(encoder: TextEncoder) -> comfy.sd.CLIP:
    """The host's CLIP object around our network and the host's CLIP-L tokenizer."""

    def build(**options: Any) -> _HostedTextEncoder:
        return _HostedTextEncoder(encoder.eval().to(_DTYPE))

    return comfy.sd.CLIP(ClipTarget(_Tokenizer, build), model_options={"dtype": _DTYPE})


class _Tokenizer(SD1Tokenizer):
    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **options: Any):
        # the context is eight vectors that read the whole sentence: there is none whose weight a word could change
        return super().tokenize_with_weights(text, return_word_ids, **{**options, "disable_weights": True})


class _HostedTextEncoder(nn.Module):
    """What the host's CLIP expects of its network."""

    dtypes = {_DTYPE}
    disable_offload = True  # newer hosts: no paging, which only the host's own layers understand

    def __init__(self, encoder: TextEncoder):
        super().__init__()
        self.encoder = encoder

    def reset_clip_options(self) -> None:
        pass

    def set_clip_options(self, options: dict[str, Any]) -> None:
        pass

    def encode_token_weights(self, tokens: dict[str, list]) -> tuple[Tensor, Tensor]:
        device = self.encoder.queries.device
        sections = torch.tensor([[token for token, *_ in section] for section in tokens["l"]], device=device)
        context, pooled = self.encoder(sections)
        return context.flatten(0, 1)[None].to(intermediate_device()), pooled[:1].to(intermediate_device())
