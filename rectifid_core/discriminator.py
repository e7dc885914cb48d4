"""Discriminators: networks that say, differentiably, what an image shows.

image --locate--> regions --crop--> crops --embed--> unit vectors, whose cosine is the similarity of two images.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Discriminator(Protocol):
    """Finds a region in each image of a batch and embeds it; samples do not mix.

    name: for people; digest: the SHA-256 of its weights, so that embeddings of another discriminator are refused.
    """

    name: str
    digest: str

    def locate(self, image: Tensor) -> Tensor:
        """The region to look at in each of ``(B, 3, H, W)``; called without gradient."""

    def crop(self, image: Tensor, regions: Tensor) -> Tensor:
        """The regions as the network wants them, ``(B, 3, s, s)`` in [0, 1]; differentiable in ``image``."""

    def embed(self, crops: Tensor) -> Tensor:
        """``(B, 3, s, s)`` -> unit vectors ``(B, D)``; differentiable."""


class EmbeddingDiscriminator:
    """Any network that embeds a square crop, over the whole image or a fixed box of it.

    network: ``(B, 3, s, s) -> (B, D)`` or ``(B, D, 1, 1)``, frozen.
    input_size: s, in pixels.
    mean, std: of the network's normalisation (x - mean) / std, x in [0, 1]; a number, or one per channel (in the
        network's order).
    channel_order: "rgb", or "bgr" for a network that was trained on OpenCV's images.
    box: (left, top, right, bottom) as fractions of the image's width and height.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        digest: str,
        input_size: int,
        mean: float | tuple[float, float, float] = 0.5,
        std: float | tuple[float, float, float] = 0.5,
        channel_order: str = "rgb",
        box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    ) -> None:
        left, top, right, bottom = box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(
                f"the box {box} is empty or leaves the image; use 0 <= left < right <= 1, 0 <= top < bottom <= 1"
            )
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(f"unknown channel order {channel_order!r}; choose rgb or bgr")
        if input_size < 1:
            raise ValueError(f"the input size must be at least 1 pixel, not {input_size}")
        self.mean = torch.tensor(mean).view(-1, 1, 1)
        self.std = torch.tensor(std).view(-1, 1, 1)
        if not (self.std > 0).all():
            raise ValueError(f"std must be above 0, not {std}")
        self.network = network
        self.name = name
        self.digest = digest
        self.input_size = input_size
        self.channel_order = channel_order
        self.box = box

    def locate(self, image: Tensor) -> Tensor:
        """The box in whole pixels, ``(B, 4)``: left, top, right, bottom."""
        height, width = image.shape[-2:]
        left, top, right, bottom = (round(f * side) for f, side in zip(self.box, (width, height) * 2, strict=True))
        left, top = min(left, width - 1), min(top, height - 1)
        region = (left, top, max(right, left + 1), max(bottom, top + 1))
        return torch.tensor(region).expand(len(image), 4)

    def crop(self, image: Tensor, regions: Tensor) -> Tensor:
        """Each region resized to the network's square; antialiased, so that every pixel of it counts."""
        size = (self.input_size, self.input_size)
        crops = [
            F.interpolate(sample[None, :, top:bottom, left:right], size, mode="bilinear", antialias=True)
            for sample, (left, top, right, bottom) in zip(image, regions.tolist(), strict=True)
        ]
        return torch.cat(crops)

    def embed(self, crops: Tensor) -> Tensor:
        if self.channel_order == "bgr":
            crops = crops.flip(1)
        features = self.network((crops - self.mean.to(crops)) / self.std.to(crops))
        if features.ndim < 2 or len(features) != len(crops):
            raise ValueError(
                f"{self.name} made {tuple(features.shape)} of {len(crops)} images: it must embed each alone"
            )
        return F.normalize(features.flatten(1).to(torch.promote_types(features.dtype, torch.float32)), dim=1)
