"""A mask socket's value as the core takes it."""

from __future__ import annotations

import torch
from torch import Tensor


def one_mask(mask: Tensor | None, where: str) -> Tensor | None:
    """The host's ``(1, H, W)`` or ``(H, W)`` as ``(H, W)`` in [0, 1], float32, on the CPU; None for none.

    where: of what, for messages: "where the identity shall be".

    Raises ValueError, in a user's words, for what is not one mask.
    """
    if mask is None:
        return None
    if mask.ndim < 2 or not mask.numel():
        raise ValueError(f"the mask of {where} has no pixels, {tuple(mask.shape)}; paint or load another one")
    masks = mask.reshape(-1, *mask.shape[-2:])
    if len(masks) != 1:
        raise ValueError(f"there are {len(masks)} masks: connect one, of {where} in every picture")
    if not masks.isfinite().all():
        raise ValueError(f"the mask of {where} has values that are nan or infinite; paint or load another one")
    with torch.inference_mode(False):  # what is made here takes part in a gradient later
        return masks[0].to("cpu", torch.float32, copy=True).clamp_(0, 1)
