"""Discriminators whose networks the host loads, offloads and counts like any model."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from comfy.model_management import (
    get_torch_device,
    load_models_gpu,
    throw_exception_if_processing_interrupted,
    unet_offload_device,
)
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....rectifid_core.discriminators.base import EmbeddingDiscriminator
from ....rectifid_core.guidance.base import Network
from ....rectifid_core.identity.encoding import encode_identity
from ....rectifid_core.identity.files import load_identity
from ....rectifid_core.identity.identity import Identity
from ....rectifid_core.identity.measuring import Measurement, measure
from ....rectifid_core.identity.selection import find_regions
from ....rectifid_core.images.regions import Region
from ....rectifid_core.images.validation import as_rgb
from ....rectifid_core.networks.onnx import input_size, load_onnx
from ..gradient.failures import enough_memory

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


if TYPE_CHECKING:
    _Forwarding = Any  # whatever the discriminator has, by `__getattr__`
else:
    _Forwarding = object


class HostedDiscriminator(_Forwarding):
    """Any discriminator, and the host's handles on its networks; everything else is the discriminator's own.

    patchers: one for each of its networks.
    """

    def __init__(self, discriminator: Network):
        self._discriminator = discriminator
        self.patchers = [
            ModelPatcher(network, load_device=get_torch_device(), offload_device=unet_offload_device())
            for network in discriminator.networks
        ]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what `copy` asks of an object that has nothing yet, not even its discriminator
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._discriminator, name)

    def load(self) -> torch.device:
        """Has the host load the networks, and returns the device on which they are now."""
        load_models_gpu(self.patchers)
        for patcher in self.patchers:
            fully_loaded(patcher)
        return self.patchers[0].load_device


def load_discriminator(
    path: Path, size: int = 0, kind: type[EmbeddingDiscriminator] = EmbeddingDiscriminator, **settings: Any
) -> HostedDiscriminator:
    """The recogniser of an ONNX file; ``size`` 0 reads the input size from it, ``settings`` are its ``kind``'s."""
    with torch.inference_mode(False):  # what is made here takes part in a gradient later
        network = load_onnx(path)
        return HostedDiscriminator(
            kind(network, name=path.stem, digest=network.digest, input_size=size or input_size(path), **settings)
        )


def encode_images(
    discriminator: HostedDiscriminator,
    images: Iterable[Tensor],
    masks: Iterable[Tensor] | None = None,
    **options: Any,
) -> Identity:
    """The identity of the host's images, ``(H, W, C)`` in [0, 1] each; all of it rests on the CPU.

    masks: ``(H, W)``, float32 on the CPU, one for each image; options: the others of `encode_identity`.
    """
    masks = None if masks is None else list(masks)
    for number, mask in enumerate(masks or (), 1):
        if not mask.any():  # the host's loader gives such a one, of 64 x 64, where nothing is painted
            raise ValueError(f"mask {number} is empty: paint over what is meant, or disconnect the mask")
    with _enough_memory(discriminator), torch.inference_mode(False):
        device = discriminator.load()
        identity = encode_identity(
            discriminator,
            [as_channels_first(image, device) for image in images],
            masks=masks,
            before_each=throw_exception_if_processing_interrupted,
            **options,
        )
    return replace(
        identity,
        embeddings=identity.embeddings.cpu(),
        crops=identity.crops.cpu(),
        query=None if identity.query is None else identity.query.cpu(),
        references=tuple(replace(each, image=each.image.cpu()) for each in identity.references),
    )


def load_saved(path: Path, discriminator: HostedDiscriminator) -> Identity:
    """An identity that was saved, as `encode_images` makes it."""
    with _enough_memory(discriminator), torch.inference_mode(False):
        discriminator.load()
        return load_identity(path, discriminator)


def measure_images(
    identity: Identity, discriminator: HostedDiscriminator, images: Iterable[Tensor]
) -> list[Measurement | None]:
    """`measure` for the host's images, ``(H, W, C)`` in [0, 1] each; one at a time, since they may be large."""
    with _enough_memory(discriminator), torch.inference_mode(False):
        device = discriminator.load()
        pictures = as_rgb([as_channels_first(image, "cpu") for image in images], "image")
        measured = []
        for picture in pictures:
            throw_exception_if_processing_interrupted()
            measured += measure(identity, discriminator, picture[None].to(device))
        return measured


def find_in_image(discriminator: HostedDiscriminator, image: Tensor, text: str) -> tuple[Tensor, list[Region]]:
    """The host's image ``(H, W, C)`` as ``(3, H, W)`` on the CPU, and what is surely found in it, the best first.

    Raises ValueError, with advice, where this discriminator finds nothing by itself and has no text.
    """
    with _enough_memory(discriminator), torch.inference_mode(False), torch.no_grad():
        (picture,) = as_rgb([as_channels_first(image, "cpu")], "image")
        device = discriminator.load()
        query = discriminator.text_query(text)
        if query is None and not discriminator.detects:
            raise ValueError(
                f"{discriminator.name} does not search a picture by itself: write into text what to look for, if its "
                "loader has a detector, or use Load Face Discriminator"
            )
        throw_exception_if_processing_interrupted()
        return picture, find_regions(discriminator, picture.to(device), query)


def _enough_memory(discriminator: HostedDiscriminator) -> AbstractContextManager[None]:
    return enough_memory(f"look at these pictures by {discriminator.name}: use fewer or smaller ones")


def as_channels_first(image: Tensor, device: torch.device | str) -> Tensor:
    """The host's ``(H, W, C)`` as ``(C, H, W)``, float32 unless it is of whole numbers, in a copy that is normal."""
    dtype = torch.float32 if image.is_floating_point() else image.dtype
    return image.movedim(-1, 0).to(device, dtype, copy=True)


def fully_loaded(patcher: ModelPatcher) -> ModelPatcher:
    """The host skips weights of modules that also have children, where it believes memory to be short."""
    patcher.model.to(patcher.load_device)
    return patcher
