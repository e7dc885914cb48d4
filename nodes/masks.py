"""A mask socket's value as the core takes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def masks_of(value: Any, where: str) -> list[Tensor]:
    """The host's ``(..., H, W)`` as masks ``(H, W)`` in [0, 1], float32, on the CPU.

    where: of what, for messages: "where the identity belongs".

    Raises ValueError, with advice, for what is no mask.
    """
    if not isinstance(value, Tensor):
        raise ValueError(f"the mask of {where} is a {type(value).__name__}, and no mask; connect one, or nothing")
    if value.ndim < 2 or not value.numel():
        raise ValueError(f"the mask of {where} has no pixels, {tuple(value.shape)}; paint or load another one")
    if value.is_complex() or not value.isfinite().all():
        raise ValueError(f"the mask of {where} has values that are nan or infinite; paint or load another one")
    with torch.inference_mode(False):  # what is made here takes part in a gradient later
        masks = value.reshape(-1, *value.shape[-2:]).to("cpu", torch.float32, copy=True)
        return list(masks.clamp_(0, 1))


def one_mask(value: Any, where: str) -> Tensor | None:
    """The only one of `masks_of`; None for None."""
    if value is None:
        return None
    masks = masks_of(value, where)
    if len(masks) != 1:
        raise ValueError(f"there are {len(masks)} masks: connect one, of {where} in every picture")
    return masks[0]
