"""Arithmetic for each sample of a batch by itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PUBLISHED_NUMBERS = 4 * 64 * 64  # in a latent of the published model, whose gradients are clipped at a norm of 1


def norm(x: Tensor) -> Tensor:
    """``(B, ...) -> (B,)``; in float32 at least, since a sum of squares overflows half precision."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=_wide(x))


def dot(x: Tensor, y: Tensor) -> Tensor:
    """The scalar product, ``(B, ...) -> (B,)``, as precise as `norm`."""
    return (x.flatten(1).to(_wide(x)) * y.flatten(1).to(_wide(y))).sum(dim=1)


def expand_like(values: Tensor, x: Tensor) -> Tensor:
    """``(B,)``, shaped and placed to broadcast against ``x``, ``(B, ...)``."""
    return values.to(x.device).view(-1, *[1] * (x.ndim - 1))


def clipped(x: Tensor) -> Tensor:
    """x / max(1, |x|): not longer than 1."""
    return (x / expand_like(norm(x).clamp(min=1), x)).to(x.dtype)


def unit(latent: Tensor) -> float:
    """c: the norm of a noise like this latent, ``(B, ...)``, over that of the published model's.

    A gradient is as much shorter as a latent is larger, for the same picture.
    """
    return math.sqrt(latent[0].numel() / PUBLISHED_NUMBERS)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
