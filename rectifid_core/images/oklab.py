"""OKLab (Ottosson, 2020): a space of colours in which distances are about as large as they look."""

from __future__ import annotations

import torch
from torch import Tensor

SOFT_BLACK = 1e-4  # the cube root has an endless slope at 0

_TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def oklab(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1], ``(..., 3, N)``, to lightness (0 black, 1 white), green-red and blue-yellow.

    The darkest tones lie closer together than in true OKLab.
    """
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = linear.new_tensor(_TO_CONES) @ linear
    black, white = SOFT_BLACK ** (1 / 3), (1 + SOFT_BLACK) ** (1 / 3)
    return linear.new_tensor(_TO_LAB) @ (((cones + SOFT_BLACK) ** (1 / 3) - black) / (white - black))
