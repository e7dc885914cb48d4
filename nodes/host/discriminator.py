"""Discriminators whose networks the host loads, offloads and counts like any model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from comfy.model_management import get_torch_device, load_models_gpu, unet_offload_device
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...rectifid_core.discriminator import Discriminator, EmbeddingDiscriminator
from ...rectifid_core.identity import Identity, encode_identity
from ...rectifid_core.onnx_network import input_size, load_onnx


class HostedDiscriminator:
    """Any discriminator, and the host's handles on its networks; everything else is the discriminator's own.

    patchers: one for each of its networks.
    """

    def __init__(self, discriminator: Discriminator):
        self._discriminator = discriminator
        self.patchers = [
            ModelPatcher(network, load_device=get_torch_device(), offload_device=unet_offload_device())
            for network in discriminator.networks
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._discriminator, name)

    def load(self) -> torch.device:
        """Has the host load the networks, and returns the device on which they are now."""
        load_models_gpu(self.patchers)
        return [fully_loaded(patcher) for patcher in self.patchers][0].load_device


def load_discriminator(path: Path, size: int = 0, **settings: Any) -> HostedDiscriminator:
    """The recogniser of an ONNX file; ``size`` 0 reads the input size from it, ``settings`` are the discriminator's."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with torch.inference_mode(False):  # what is made here takes part in a gradient later
        network = load_onnx(path)
        return HostedDiscriminator(
            EmbeddingDiscriminator(
                network, name=path.stem, digest=digest, input_size=size or input_size(path), **settings
            )
        )


def encode_images(discriminator: HostedDiscriminator, images: Iterable[Tensor], **options: Any) -> Identity:
    """The identity of the host's images, ``(H, W, C)`` in [0, 1] each; all of it rests on the CPU.

    options: those of `encode_identity`.
    """
    device = discriminator.load()
    with torch.inference_mode(False):
        identity = encode_identity(discriminator, [as_channels_first(image, device) for image in images], **options)
    seen = [replace(each, image=each.image.cpu()) for each in identity.seen]
    query = None if identity.query is None else identity.query.cpu()
    return replace(identity, embeddings=identity.embeddings.cpu(), crops=identity.crops.cpu(), query=query, seen=seen)


def as_channels_first(image: Tensor, device: torch.device) -> Tensor:
    """The host's ``(H, W, C)`` as ``(C, H, W)``, float32 unless it is of whole numbers, in a copy that is normal."""
    dtype = torch.float32 if image.is_floating_point() else image.dtype
    return image.movedim(-1, 0).to(device, dtype, copy=True)


def fully_loaded(patcher: ModelPatcher) -> ModelPatcher:
    """The host skips weights of modules that also have children, where it believes memory to be short."""
    patcher.model.to(patcher.load_device)
    return patcher
