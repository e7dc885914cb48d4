"""Pictures with what was found in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .regions import Region

LONGEST = 1024  # pixels; a picture to look at, however large the image is
CHOSEN, OTHER = (64, 224, 96), (255, 176, 32)  # green and orange, which stand out from skin, and from each other
_LINE, _FONT = 1 / 200, 1 / 32  # of the picture's mean side


def draw_regions(image: Tensor, regions: Iterable[Region], chosen: int | None = None) -> Tensor:
    """``image``, ``(3, H, W)`` in [0, 1], with all boxes numbered from 0, in green the one whose number is ``chosen``.

    ``(3, h, w)`` on the CPU, with the image's proportions; its longer side is at most `LONGEST`.
    """
    scale = min(LONGEST / max(image.shape[-2:]), 1.0)
    picture = _to_pillow(_resize(image, scale))
    draw = ImageDraw.Draw(picture)
    side = (picture.width * picture.height) ** 0.5
    line = max(round(side * _LINE), 1)
    font = cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=max(round(side * _FONT), 8)))  # has a size
    for number, region in sorted(enumerate(regions), key=lambda each: each[0] == chosen):  # the chosen on top
        color = CHOSEN if number == chosen else OTHER
        left, top, right, bottom = (edge * scale for edge in region.box)
        draw.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=color, width=line)
        for x, y in [] if region.landmarks is None else (region.landmarks * scale).tolist():
            draw.ellipse((x - line, y - line, x + line, y + line), fill=color)
        _label(draw, str(number), (left, top), picture.size, font, color)
    return _from_pillow(picture)


def _label(
    draw: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[float, float],
    room: tuple[int, int],
    font: ImageFont.FreeTypeFont,
    color: tuple[int, int, int],
) -> None:
    """``text`` on a patch above a box's upper left ``corner``, or as near to that as the picture has ``room``."""
    x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font)
    width, height = x1 - x0 + font.size / 2, y1 - y0 + font.size / 2
    x = min(max(corner[0], 0), max(room[0] - width, 0))
    y = min(max(corner[1] - height, 0), max(room[1] - height, 0))
    draw.rectangle((x, y, x + width, y + height), fill=color)
    draw.text((x + width / 2, y + height / 2), text, fill=(0, 0, 0), font=font, anchor="mm")


def on_one_size(pictures: list[Tensor]) -> Tensor:
    """Pictures ``(3, h, w)`` of any sizes as one batch: each fitted into the largest width and height, black around."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (-2, -1))
    fitted = []
    for picture in pictures:
        scale = min(height / picture.shape[-2], width / picture.shape[-1])
        picture = _resize(picture, scale)[:, :height, :width]
        down, across = height - picture.shape[-2], width - picture.shape[-1]
        fitted.append(F.pad(picture, (across // 2, across - across // 2, down // 2, down - down // 2)))
    return torch.stack(fitted)


def _resize(image: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return image
    size = [max(round(side * scale), 1) for side in image.shape[-2:]]
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def _to_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray((image.detach().cpu() * 255).round().byte().movedim(0, -1).contiguous().numpy())


def _from_pillow(picture: Image.Image) -> Tensor:
    bytes_ = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return bytes_.view(picture.height, picture.width, 3).movedim(-1, 0).float() / 255
