"""Spots: soft discs in a square, as weights of its pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def discs(size: int, centres: Tensor, radius: float) -> Tensor:
    """1 inside of any of the discs, 0 outside, falling over a pixel: ``(size, size)``, or ``(B, 1, size, size)``.

    centres: ``(P, 2)`` or ``(B, P, 2)``, x and y as fractions of the side; radius: as one, too.
    """
    place = (torch.arange(size, device=centres.device) + 0.5) / size
    x, y = centres.to(torch.float32).unbind(dim=-1)
    distance = torch.hypot(place[None, :] - x[..., None, None], place[:, None] - y[..., None, None])
    weights = ((radius - distance) * size + 0.5).clamp(0, 1).amax(dim=-3)
    return weights[:, None] if centres.ndim == 3 else weights
