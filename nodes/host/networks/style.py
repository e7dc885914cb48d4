"""The host's CLIPVision as a discriminator of style."""

from __future__ import annotations

import hashlib
from typing import Any

import comfy.clip_vision
import torch
import torch.nn.functional as F
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ....rectifid_core.discriminators.base import EmbeddingDiscriminator
from ..gradient.model import resident
from .discriminators import HostedDiscriminator

FEATURES = ("embedding", "gram")
_SAMPLED = 16  # numbers of each weight


class StyleDiscriminator(HostedDiscriminator):
    """Compares whole pictures by the features that a CLIPVision of the host has of them; its weights stay the host's.

    features: "embedding" is the network's summary of a picture; "gram" is which of the features of its middle layer
    occur together, wherever they do.

    Raises ValueError, with advice, for a network that cannot serve.
    """

    def __init__(self, clip_vision: Any, features: str = FEATURES[0]) -> None:
        if clip_vision is None:
            raise ValueError(
                "There is no CLIP vision model. If it comes from a checkpoint loader, this checkpoint has none: use a "
                "Load CLIP Vision node."
            )
        if clip_vision.image_size < 1:
            raise ValueError(
                "This CLIP vision model takes pictures of any size (it is a NaFlex one), which guidance cannot use. "
                "Load one of a fixed size, such as CLIP ViT-H or SigLIP."
            )
        patcher = _resident(clip_vision)
        self.patchers = [patcher]
        with torch.inference_mode(False):  # what is made here takes part in a gradient later
            self._discriminator = EmbeddingDiscriminator(
                _Features(patcher, features),
                name=f"{type(patcher.model).__name__} ({features})",
                digest=_digest(patcher.model, features),
                input_size=clip_vision.image_size,
                mean=tuple(clip_vision.image_mean),
                std=tuple(clip_vision.image_std),
            )


class _Features(nn.Module):
    """``(B, 3, s, s) -> (B, D)`` in float32, on the pictures' device.

    The network is not a part of this module: the host places it, maybe elsewhere, and casts its weights to the type of
    what comes in.
    """

    def __init__(self, patcher: ModelPatcher, features: str) -> None:
        super().__init__()
        self._patcher = patcher
        self._read = {"embedding": _embedding, "gram": _gram}[features]
        layers = max((len(each) for each in patcher.model.modules() if isinstance(each, nn.ModuleList)), default=0)
        self._middle = layers // 2

    def forward(self, pixels: Tensor) -> Tensor:
        here = pixels.to(self._patcher.load_device, torch.float32)
        return self._read(self._patcher.model(pixel_values=here, intermediate_output=self._middle)).to(pixels.device)


def _embedding(outputs: tuple) -> Tensor:
    """outputs: what the host's networks return: the last layer, the middle one, the summary, and a projection."""
    pooled = outputs[2]
    return pooled.mean(dim=1) if pooled.ndim == 3 else pooled  # SigLIP has one for each patch


def _gram(outputs: tuple) -> Tensor:
    """The covariance of the features over the picture, so that what all pictures share falls out."""
    if outputs[1] is None:
        raise ValueError(
            "This CLIP vision model does not show its middle layer. Choose the features 'embedding', or load another "
            "one, such as CLIP ViT-H."
        )
    tokens = F.layer_norm(outputs[1], outputs[1].shape[-1:])
    tokens = tokens - tokens.mean(dim=1, keepdim=True)
    return (tokens.mT @ tokens).flatten(1) / tokens.shape[1]


def _digest(network: nn.Module, features: str) -> str:
    """Of a few numbers from each weight: enough to tell networks apart in a report, without reading all of it."""
    sha = hashlib.sha256(features.encode())
    for name, weight in sorted(network.state_dict().items()):
        numbers = weight.detach().reshape(-1)
        some = numbers[:: max(len(numbers) // _SAMPLED, 1)].float().cpu()
        sha.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode() + some.numpy().tobytes())
    return sha.hexdigest()


def _resident(clip_vision: Any) -> ModelPatcher:
    """As `resident`; the host's loader of CLIPVision does not say how to build a twin, so it is said here."""
    patcher = clip_vision.patcher
    if getattr(patcher, "cached_patcher_init", 0) is None and hasattr(clip_vision, "config"):
        patcher.cached_patcher_init = (_twin, (clip_vision,))
    return resident(patcher)


def _twin(clip_vision: Any, disable_dynamic: bool = False) -> ModelPatcher:
    """Another network with the same weights, which the host does not page."""
    twin = comfy.clip_vision.ClipVisionModel(clip_vision.config)
    twin.model.load_state_dict(clip_vision.get_sd(), assign=True)
    return ModelPatcher(twin.model, load_device=twin.load_device, offload_device=twin.patcher.offload_device)
