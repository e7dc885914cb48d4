"""Discriminators: networks that say, differentiably, what an image shows.

image --locate--> regions --crop--> crops --embed--> unit vectors, whose cosine is the similarity of two images.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..images.oklab import oklab
from ..images.regions import Region
from ..images.spots import discs
from ..networks.weights import first_weight

MIDDLE = 0.3  # of a crop, the radius around its centre where a thing is seen rather than what is around it


class Discriminator(Protocol):
    """Finds regions in each image of a batch and embeds them; samples do not mix.

    name: for people; digest: the SHA-256 of its weights, so that embeddings of another discriminator are refused.
    preprocessing: what it does to a picture before its network, in words: with other settings, embeddings mean nothing.
    noun: what it looks at, for messages: "face", "subject", "picture".
    detects: whether `locate` finds its regions without being told what to look for.
    threshold: a region with a lower score is doubtful: nobody's reference, and a last resort while tracking.
    input_size: s, the side of a crop in pixels.
    networks: what runs in torch, to be moved to the device of the images.
    """

    name: str
    digest: str
    noun: str
    detects: bool
    threshold: float
    input_size: int

    @property
    def preprocessing(self) -> str: ...

    @property
    def networks(self) -> list[nn.Module]: ...

    def locate(self, image: Tensor, query: Tensor | None = None, thorough: bool = False) -> list[list[Region]]:
        """The regions in each of ``(B, 3, H, W)``, the best first; called without gradient.

        query: what to look for, from `text_query` or `image_query`; None: what this discriminator looks for by itself.
        thorough: worth some more detections for what is turned, or small in a large picture: for references and
            measuring, not for each iterate.
        """
        ...

    def crop(self, image: Tensor, regions: list[Region]) -> Tensor:
        """One region of each image, as the network wants it: ``(B, 3, s, s)`` in [0, 1]; differentiable."""
        ...

    def embed(self, crops: Tensor) -> Tensor:
        """``(B, 3, s, s)`` -> unit vectors ``(B, D)``; differentiable."""
        ...

    def color(self, crops: Tensor, mask: Tensor | None = None) -> Tensor:
        """The mean colour of what crops ``(B, 3, s, s)`` are of, in OKLab: ``(B, 3)``; differentiable.

        mask: ``(B, 1, s, s)`` in [0, 1], how much counts of each pixel, where its user has said so.
        """
        ...

    def text_query(self, text: str) -> Tensor | None:
        """What `locate` has to look for, in words; None for no words.  ValueError where words are of no use."""
        ...

    def image_query(self, image: Tensor, region: Region) -> Tensor | None:
        """What `locate` has to look for in other images: what this one, ``(3, H, W)``, shows in ``region``.

        ``(Q,)``; None where it looks for one kind of thing in any case.
        """
        ...

    def doubt(self, region: Region, crop: Tensor) -> str | None:
        """Why this region makes a poor reference or measurement, with advice, or None.

        region: from `locate`; crop: of it, ``(3, s, s)`` from `crop`.  Called without gradient; a warning, no error.
        """
        ...


class EmbeddingDiscriminator:
    """Any network that embeds a square crop, over the whole image or a fixed box of it.

    network: ``(B, 3, s, s) -> (B, D)`` or ``(B, D, 1, 1)``, frozen; of any floating dtype.
    input_size: s, in pixels.
    mean, std: of the network's normalisation (x - mean) / std, x in [0, 1]; a number, or one per channel (in the
        network's order).
    channel_order: "rgb", or "bgr" for a network that was trained on OpenCV's images.
    box: (left, top, right, bottom) as fractions of the image's width and height.
    """

    noun = "picture"
    detects = False
    threshold = 0.0

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

    @property
    def preprocessing(self) -> str:
        mean, std = (" ".join(f"{x:.6g}" for x in each.flatten().tolist()) for each in (self.mean, self.std))
        box = " ".join(f"{edge:.6g}" for edge in self.box)
        side = f"{self.input_size} x {self.input_size}"
        return f"{side} pixels, {self.channel_order}, mean {mean}, std {std}, box {box}"

    @property
    def networks(self) -> list[nn.Module]:
        return [self.network]

    def locate(self, image: Tensor, query: Tensor | None = None, thorough: bool = False) -> list[list[Region]]:
        """The box, in whole pixels."""
        height, width = image.shape[-2:]
        left, top, right, bottom = (round(f * side) for f, side in zip(self.box, (width, height) * 2, strict=True))
        left, top = min(left, width - 1), min(top, height - 1)
        box = (float(left), float(top), float(max(right, left + 1)), float(max(bottom, top + 1)))
        return [[Region(box)]] * len(image)

    def crop(self, image: Tensor, regions: list[Region]) -> Tensor:
        """Each region, in whole pixels, resized to the network's square; antialiased, so that every pixel counts."""
        size = (self.input_size, self.input_size)
        crops = [
            F.interpolate(cut_out(sample, region)[None], size, mode="bilinear", antialias=True)
            for sample, region in zip(image, regions, strict=True)
        ]
        return torch.cat(crops)

    def embed(self, crops: Tensor) -> Tensor:
        return F.normalize(self.features(crops), dim=1)

    def features(self, crops: Tensor) -> Tensor:
        """What the network makes of ``(B, 3, s, s)``: ``(B, D)`` of float32 or finer, of any length; differentiable."""
        weight = first_weight(self.network, crops)
        if weight.device != crops.device:
            raise ValueError(
                f"{self.name} is on the device {weight.device} and the picture on {crops.device}; move one to the other"
            )
        if self.channel_order == "bgr":
            crops = crops.flip(1)
        features = self.network(((crops - self.mean.to(crops)) / self.std.to(crops)).to(weight.dtype))
        if features.ndim < 2 or len(features) != len(crops):
            raise ValueError(
                f"{self.name} made {tuple(features.shape)} of {len(crops)} images: it must embed each by itself"
            )
        if not features.isfinite().all() and crops.isfinite().all():
            raise FloatingPointError(
                f"{self.name} makes nan or infinity of a picture, which comes of too little precision or of damaged "
                "weights; load it in fp32, or download it again"
            )
        return features.flatten(1).to(torch.promote_types(crops.dtype, torch.float32))

    def color(self, crops: Tensor, mask: Tensor | None = None) -> Tensor:
        counts = self._interior(crops.detach()).to(crops)
        if mask is not None:
            inside = counts * mask.to(crops)
            counts = torch.where(inside.sum(dim=(1, 2, 3), keepdim=True) > 1, inside, counts)  # more than a pixel
        mean = (crops * counts).sum(dim=(2, 3)) / counts.sum(dim=(2, 3))
        return oklab(mean[..., None])[..., 0]

    def _interior(self, crops: Tensor) -> Tensor:
        """How much of each pixel is surely of what is recognised, and not of its surroundings: ``(B, 1, s, s)``."""
        return discs(crops.shape[-1], torch.tensor([[0.5, 0.5]]), MIDDLE).expand(len(crops), 1, -1, -1)

    def text_query(self, text: str) -> Tensor | None:
        if text:
            raise ValueError(
                f"{self.name} looks at every {self.noun} in the same way and cannot read {text!r}; leave the text empty"
            )
        return None

    def image_query(self, image: Tensor, region: Region) -> Tensor | None:
        return None

    def doubt(self, region: Region, crop: Tensor) -> str | None:
        return None


def cut_out(image: Tensor, region: Region) -> Tensor:
    """The pixels of ``region`` in an image ``(3, H, W)``: at least one, and none outside of it."""
    height, width = image.shape[-2:]
    left, top, right, bottom = (round(edge) for edge in region.box)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    right, bottom = min(max(right, left + 1), width), min(max(bottom, top + 1), height)
    return image[:, top:bottom, left:right]
