"""A part of a picture around what was found in it: to be drawn larger by itself, and put back."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .regions import Region

SOFT = 1 / 8  # of the crop's side: over how much of it a mask fades towards each edge


class Crop(NamedTuple):
    """A box of whole pixels inside a picture."""

    x: int
    y: int
    width: int
    height: int


def crop_around(region: Region, size: tuple[int, int], drawn: tuple[int, int], margin: float) -> Crop:
    """The box around ``region``, with a margin, in the proportions of what will be drawn of it.

    size, drawn: of the picture and of the drawing, (height, width) in pixels.
    margin: on each side, as a share of the region's longer side; >= 0. Where the picture ends, there is less of it on
        that side and more on the other.

    Raises ValueError, with advice, where the picture has no room for the region in these proportions.
    """
    height, width = size
    left, right = (min(max(edge, 0.0), width) for edge in region.box[::2])
    top, bottom = (min(max(edge, 0.0), height) for edge in region.box[1::2])
    across, down = right - left, bottom - top
    around = 2 * margin * max(across, down)
    proportion = drawn[1] / drawn[0]
    wide = max(across + around, (down + around) * proportion)
    wide = min(wide, width, height * proportion)
    box_width, box_height = max(min(round(wide), width), 1), max(min(round(wide / proportion), height), 1)
    if box_width < across - 1 or box_height < down - 1:  # a pixel is lost by rounding
        raise ValueError(
            f"it is {across:.0f} x {down:.0f} pixels large, and in the proportions {drawn[1]} : {drawn[0]} this "
            f"picture of {width} x {height} has room for {box_width} x {box_height} only. Choose a width and height in "
            "proportions that are nearer to its own, or leave the picture as it is: what fills it so far needs no crop"
        )
    x = min(max(round((left + right - box_width) / 2), 0), width - box_width)
    y = min(max(round((top + bottom - box_height) / 2), 0), height - box_height)
    return Crop(x, y, box_width, box_height)


def cut_and_scale(image: Tensor, crop: Crop, drawn: tuple[int, int]) -> Tensor:
    """The pixels of ``crop`` in an image ``(3, H, W)`` in [0, 1], at the size (height, width) that is drawn."""
    part = image[None, :, crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
    return F.interpolate(part, drawn, mode="bicubic", antialias=True)[0].clamp(0, 1)


def soft_mask(crop: Crop, size: tuple[int, int], drawn: tuple[int, int]) -> Tensor:
    """``drawn``, (height, width), in [0, 1]: 1 in the middle, falling towards each edge that has picture beyond it."""
    across = _fading(drawn[1], crop.x > 0, crop.x + crop.width < size[1])
    down = _fading(drawn[0], crop.y > 0, crop.y + crop.height < size[0])
    return down[:, None] * across


def _fading(count: int, at_start: bool, at_end: bool) -> Tensor:
    rising = ((torch.arange(count) + 0.5) / (SOFT * count)).clamp(max=1)
    return torch.where(torch.tensor(at_start), rising, 1.0) * torch.where(torch.tensor(at_end), rising.flip(0), 1.0)
