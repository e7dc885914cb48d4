"""Masks: which pixels of an image are meant."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import masks_to_boxes

from .regions import Region

_MASK_SLACK = 0.05  # of the aspect ratio: sides are rounded to what a model can draw


def check_mask(mask: Tensor, size: tuple[int, int]) -> None:
    """Raises ValueError, with advice, for a mask that is not of the image's size, (height, width)."""
    if tuple(mask.shape) != size:
        raise ValueError(
            f"the mask has {mask.shape[-1]} x {mask.shape[-2]} pixels and the image {size[1]} x {size[0]}; they must "
            "be the same"
        )


def box_of(mask: Tensor) -> Region:
    """The smallest box around what a mask ``(H, W)`` marks (above a half); ValueError for a mask that marks nothing."""
    marked = mask > 0.5
    if not marked.any():
        raise ValueError("the mask is empty: paint over what is to be looked at")
    left, top, right, bottom = masks_to_boxes(marked[None])[0].tolist()  # of pixels, which have a width
    return Region((left, top, right + 1, bottom + 1))


def check_shape(mask: Tensor, size: tuple[int, int]) -> None:
    """Raises ValueError, with advice, for a mask ``(h, w)`` of another shape than ``size``, (height, width)."""
    height, width = size
    ratio = mask.shape[1] * height / (mask.shape[0] * width)
    if abs(ratio - 1) > _MASK_SLACK:
        raise ValueError(
            f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels and the picture {width} x {height}: they must have "
            "the same shape, at any size; paint the mask on a picture of that shape"
        )


def fit_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask ``(h, w)``, resized to an image of ``size``, (height, width).

    Raises ValueError, with advice, where the shapes differ, and for one that is too small to be left there.
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
