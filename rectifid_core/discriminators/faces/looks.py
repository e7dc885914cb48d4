"""Where a face detector looks: at the whole picture, at it turned or with a margin, and at tiles of a large one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...images.regions import Region
from .alignment import sample
from .runtime import as_bgr

FINE = 2048  # pixels, the side of a tile in which a face of 64 pixels is found: 20 of the 640 that the detector sees
LAP = 0.25  # of a tile's side, what it shares with the next: a smaller face is whole in one of them
MOST = 64  # tiles, at most
MOST_TURNED = 21  # tiles, at most, that are looked at in three more turns: those of a picture of 8000 x 4000 pixels


@dataclass(frozen=True)
class Look:
    """A rectangle of a picture, ``width`` x ``height`` pixels, perhaps turned; it may leave the picture.

    A point z = x + iy of it is at ``turn`` z + ``origin`` in the picture, where the centre of pixel i is at i.
    turn: 1, i, -1 or -i.
    """

    width: float
    height: float
    turn: complex = 1
    origin: complex = 0

    def turned(self, quarters: int) -> Look:
        """The same pixels, turned counterclockwise."""
        look = self
        for _ in range(quarters):
            look = Look(look.height, look.width, look.turn * 1j, look.origin + look.turn * (look.width - 1))
        return look

    def with_margin(self) -> Look:
        """With half the picture's size around it."""
        dx, dy = self.width // 2, self.height // 2
        origin = self.origin - self.turn * complex(dx, dy)
        return Look(self.width + 2 * dx, self.height + 2 * dy, self.turn, origin)


class Picture:
    """An image ``(3, H, W)`` in [0, 1], of which many looks are taken."""

    def __init__(self, image: Tensor) -> None:
        self.height, self.width = image.shape[-2:]
        self._shrunk = {1: image.detach()}

    def whole(self) -> Look:
        return Look(self.width, self.height)

    def tiles(self, most: int = MOST) -> Iterator[list[Look]]:
        """Squares that cover a picture with an overlap, finer each time, down to `FINE`; ``most`` of them in all."""
        side, count = max(self.width, self.height), 0
        while side > FINE:
            side = math.ceil(side / 2)
            lefts, tops = (_starts(length, side) for length in (self.width, self.height))
            count += len(lefts) * len(tops)
            if count > most:
                return
            yield [Look(side, side, origin=complex(left, top)) for top in tops for left in lefts]

    def draw(self, look: Look, size: tuple[int, int]) -> tuple[np.ndarray, float]:
        """What the look shows, as large as fits into ``size`` (width, height) from the upper left, the rest black.

        ``(height, width, 3)``, BGR, uint8; and how many of the picture's pixels are one of these.
        """
        scale = max(look.width / size[0], look.height / size[1])
        shrink = max(math.ceil(scale / 2), 1)  # to less than two pixels for one, which bilinear sampling does well
        if shrink not in self._shrunk:
            self._shrunk[shrink] = F.avg_pool2d(self._shrunk[1][None], shrink, ceil_mode=True)[0]
        image = self._shrunk[shrink]
        columns, rows = (torch.arange(side).to(image) for side in size)
        a, b = _from_drawing(look, scale)
        pixels = sample(image, a / shrink, (b - _half(shrink)) / shrink, columns, rows, padding="border")
        x = a.real * columns - a.imag * rows[:, None] + b.real
        y = a.imag * columns + a.real * rows[:, None] + b.imag
        inside = (x > -0.5) & (x < self.width - 0.5) & (y > -0.5) & (y < self.height - 0.5)
        return as_bgr(pixels * inside), scale

    def restore(self, look: Look, scale: float, box: np.ndarray, landmarks: np.ndarray) -> Region:
        """In the picture, the face that was found in the drawing of a look.

        box: left, top, right, bottom, score, edges of pixels; landmarks: ``(5, 2)``, centres of pixels.
        """
        a, b = _from_drawing(look, scale)
        edge = 0.5 + 0.5j
        score = float(box[4])
        corners = a * (box[[0, 2]] + 1j * box[[1, 3]] - edge) + b + edge
        (left, right), (top, bottom) = sorted(corners.real.tolist()), sorted(corners.imag.tolist())
        across = max(min(right, self.width) - max(left, 0), 0) / max(right - left, 1e-6)
        down = max(min(bottom, self.height) - max(top, 0), 0) / max(bottom - top, 1e-6)
        points = a * (landmarks[:, 0] + 1j * landmarks[:, 1]) + b
        xy = np.stack([points.real, points.imag], axis=-1).astype(np.float32)
        return Region((left, top, right, bottom), score, torch.from_numpy(xy), outside=1 - across * down)

    def cuts(self, look: Look, region: Region) -> bool:
        """Whether an edge of the look, which is none of the picture, cuts through a region."""
        far = look.origin + look.turn * complex(look.width - 1, look.height - 1)
        x, y = (sorted(ends) for ends in ((look.origin.real, far.real), (look.origin.imag, far.imag)))
        left, top, right, bottom = region.box
        return left < x[0] > 0 or top < y[0] > 0 or right > x[1] + 1 < self.width or bottom > y[1] + 1 < self.height


def _from_drawing(look: Look, scale: float) -> tuple[complex, complex]:
    """(a, b): a pixel z of the drawing is at a z + b in the picture."""
    return look.turn * scale, look.origin + look.turn * _half(scale)


def _half(scale: float) -> complex:
    """Where the centre of a pixel is that covers ``scale`` pixels to a side, from the centre of the first of them."""
    return (scale - 1) / 2 * (1 + 1j)


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin that cover ``length``."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (side * (1 - LAP)))
    return [round((length - side) * i / count) for i in range(count + 1)]
