"""Discriminators whose network the host loads, offloads and counts like any model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from comfy.model_management import get_torch_device, load_models_gpu, unet_offload_device
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...rectifid_core.discriminator import EmbeddingDiscriminator
from ...rectifid_core.identity import Identity, encode_identity
from ...rectifid_core.onnx_network import input_size, load_onnx


class HostedDiscriminator(EmbeddingDiscriminator):
    """patcher: the host's handle on the network."""

    def __init__(self, network: nn.Module, **settings: Any):
        super().__init__(network, **settings)
        self.patcher = ModelPatcher(network, load_device=get_torch_device(), offload_device=unet_offload_device())


def load_discriminator(path: Path, size: int = 0, **settings: Any) -> HostedDiscriminator:
    """The recogniser of an ONNX file; ``size`` 0 reads the input size from it, ``settings`` are the discriminator's."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with torch.inference_mode(False):  # what is made here takes part in a gradient later
        network = load_onnx(path)
        return HostedDiscriminator(
            network, name=path.stem, digest=digest, input_size=size or input_size(path), **settings
        )


def encode_images(discriminator: HostedDiscriminator, images: Tensor) -> Identity:
    """The identity of the host's IMAGE, ``(N, H, W, 3)`` in [0, 1]; its embedding and crops rest on the CPU."""
    load_models_gpu([discriminator.patcher])
    device = fully_loaded(discriminator.patcher).load_device
    with torch.inference_mode(False):
        identity = encode_identity(discriminator, images[..., :3].movedim(-1, 1).to(device, torch.float32, copy=True))
    return replace(identity, embedding=identity.embedding.cpu(), crops=identity.crops.cpu())


def fully_loaded(patcher: ModelPatcher) -> ModelPatcher:
    """The host skips weights of modules that also have children, where it believes memory to be short."""
    patcher.model.to(patcher.load_device)
    return patcher
