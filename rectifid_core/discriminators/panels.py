"""A recogniser of portraits that stand side by side, each in a square panel of its own."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ..images.regions import Region
from ..images.spots import discs
from .base import EmbeddingDiscriminator

# Of a portrait, in fractions of its side: how far its axis may be from the middle, and what is compared on both sides.
SWAY, HALF, BAND = 0.22, 0.28, (0.25, 0.75)
# Both cheeks and the bridge of the nose, of a portrait whose axis is in the middle.
SKIN = ((0.385, 0.475), (0.615, 0.475), (0.5, 0.445))
SPOT = 0.045


class PanelDiscriminator(EmbeddingDiscriminator):
    """An `EmbeddingDiscriminator` that looks at each square panel of a picture: two in one twice as wide as high.

    Its box is that of every panel.  In the world of the embedded model, faces have their places, so that no detector
    is needed to find more than one.
    """

    noun = "portrait"
    detects = True

    def locate(self, image: Tensor, query: Tensor | None = None, thorough: bool = False) -> list[list[Region]]:
        """The box of each panel, in whole pixels, from the left; a picture that is not wide is one panel."""
        height, width = image.shape[-2:]
        count = max(1, round(width / height))
        edges = [round(width * i / count) for i in range(count + 1)]
        regions = []
        for left, right in itertools.pairwise(edges):
            ((within,),) = super().locate(image[:1, :, :, left:right])
            box = (within.box[0] + left, within.box[1], within.box[2] + left, within.box[3])
            regions.append(Region(box))
        return [regions] * len(image)

    def _interior(self, crops: Tensor) -> Tensor:
        """Both cheeks and the bridge of the nose, beside the axis of the portrait."""
        spots = crops.new_tensor(SKIN).repeat(len(crops), 1, 1)
        spots[..., 0] += _axis(crops)[:, None]
        return discs(crops.shape[-1], spots, SPOT)


@torch.no_grad()
def _axis(crops: Tensor) -> Tensor:
    """Where the axis of each portrait ``(B, 3, s, s)`` is, from the middle, in sides: ``(B,)``.

    A portrait is alike on both sides of it, for as much as there is to be seen.  Of 150 drawn people all within 0.05,
    half within 0.005.
    """
    size = crops.shape[-1]
    band = crops[:, :, round(BAND[0] * size) : round(BAND[1] * size)].float()
    ways = torch.linspace(-SWAY, SWAY, 23, device=crops.device)
    away = torch.arange(round(HALF * size), device=crops.device) + 0.5

    def columns(x: Tensor) -> Tensor:
        left = x.floor().clamp(0, size - 2).long()
        return band[..., left].lerp(band[..., left + 1], (x - left).to(band))

    unlike = []
    for way in ways:
        middle = (0.5 + way) * size - 0.5
        there = (away <= middle) & (away <= size - 1 - middle)
        right, left = columns(middle + away[there]), columns(middle - away[there])
        mean = (right + left).mean(dim=(2, 3), keepdim=True) / 2
        varied = (right - mean).abs() + (left - mean).abs()
        unlike.append((right - left).abs().mean(dim=(1, 2, 3)) / (varied.mean(dim=(1, 2, 3)) + 1e-3))
    return ways[torch.stack(unlike).argmin(dim=0)]
