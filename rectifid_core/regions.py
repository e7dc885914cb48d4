"""Regions: the places in an image that a discriminator looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_MASK_SLACK = 0.05  # of the aspect ratio: sides are rounded to what a model can draw


@dataclass(frozen=True)
class Region:
    """A box in an image, in pixels from its upper left corner; it may leave the image.

    box: left, top, right, bottom.
    score: how sure the detector is, in [0, 1]; 1 where nothing was detected but the place is given.
    landmarks: ``(P, 2)`` float32, x and y, on the CPU; for a face its eyes, nose and corners of the mouth.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    landmarks: Tensor | None = None

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
    left, top = max(a.box[0], b.box[0]), max(a.box[1], b.box[1])
    right, bottom = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    intersection = max(right - left, 0.0) * max(bottom - top, 0.0)
    union = a.area + b.area - intersection
    return intersection / union if union else 0.0


def whole(image: Tensor) -> Region:
    """All of an image ``(..., H, W)``."""
    height, width = image.shape[-2:]
    return Region((0.0, 0.0, float(width), float(height)))


def check_mask(mask: Tensor, size: tuple[int, int]) -> None:
    """Raises ValueError, in a user's words, for a mask that is not of the image's size, (height, width)."""
    if tuple(mask.shape) != size:
        raise ValueError(
            f"the mask has {mask.shape[-1]} x {mask.shape[-2]} pixels and the image {size[1]} x {size[0]}; they must "
            "be the same"
        )


def box_of(mask: Tensor) -> Region:
    """The smallest box around what a mask ``(H, W)`` marks (above a half); ValueError for a mask that marks nothing."""
    rows, columns = torch.nonzero(mask > 0.5, as_tuple=True)
    if not len(rows):
        raise ValueError("the mask is empty: paint over what shall be looked at")
    left, right = int(columns.min()), int(columns.max()) + 1
    top, bottom = int(rows.min()), int(rows.max()) + 1
    return Region((float(left), float(top), float(right), float(bottom)))


def check_shape(mask: Tensor, size: tuple[int, int]) -> None:
    """Raises ValueError, in a user's words, for a mask ``(h, w)`` of another shape than ``size``, (height, width)."""
    height, width = size
    ratio = mask.shape[1] * height / (mask.shape[0] * width)
    if abs(ratio - 1) > _MASK_SLACK:
        raise ValueError(
            f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels and the picture {width} x {height}: they must have "
            "the same shape, at any size; paint the mask on a picture of that shape"
        )


def fit_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask ``(h, w)``, resized to an image of ``size``, (height, width).

    Raises ValueError, in a user's words, where the shapes differ, and for one that is too small to be left there.
    """
    check_shape(mask, size)
    fitted = F.interpolate(mask[None, None].float(), size, mode="nearest-exact")[0, 0]
    if not (fitted > 0.5).any():
        raise ValueError(
            f"nothing is left of the mask in a picture of {size[1]} x {size[0]} pixels: paint over a larger part"
        )
    return fitted


def lies_in(region: Region, mask: Tensor) -> bool:
    """Whether the region's centre is where a mask ``(H, W)`` of the image marks (above a half)."""
    column, row = (math.floor(each) for each in region.centre)
    return 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and bool(mask[row, column] > 0.5)
