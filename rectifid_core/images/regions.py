"""Regions: the places in an image that a discriminator looks at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou


def size_of(image: Tensor) -> tuple[int, int]:
    """The (height, width) of an image ``(..., H, W)``, in pixels."""
    height, width = image.shape[-2:]
    return height, width


@dataclass(frozen=True)
class Region:
    """A box in an image, in pixels from its upper left corner; it may leave the image.

    box: left, top, right, bottom.
    score: how sure the detector is, in [0, 1]; 1 where nothing was detected but the place is given.
    landmarks: ``(P, 2)`` float32, x and y, on the CPU, where the centre of pixel i is at i; for a face its eyes, nose
        and corners of the mouth, the left ones of an upright face first.
    outside: the share of the box that leaves the image, where its detector tells.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    landmarks: Tensor | None = None
    outside: float = 0.0

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    @property
    def area(self) -> float:
        return max(self.width, 0.0) * max(self.height, 0.0)

    @property
    def centre(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


def overlap(a: Region, b: Region) -> float:
    """Intersection over union of the two boxes, in [0, 1]."""
    first, second = (torch.tensor([region.box], dtype=torch.float64) for region in (a, b))
    return float(box_iou(first, second).nan_to_num(nan=0.0))  # nan: both are points


def whole(image: Tensor) -> Region:
    """All of an image ``(..., H, W)``."""
    height, width = image.shape[-2:]
    return Region((0.0, 0.0, float(width), float(height)))
