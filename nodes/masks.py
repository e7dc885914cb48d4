"""A mask socket's value as the core takes it."""

from __future__ import annotations

import torch
from torch import Tensor


def one_mask(mask: Tensor | None, where: str) -> Tensor | None:
    """The host's ``(1, H, W)`` or ``(H, W)`` as ``(H, W)`` in float32 on the CPU; None for none.

    where: of what, for the message of the ValueError: "where the identity shall be".
    """
    if mask is None:
        return None
    masks = mask.reshape(-1, *mask.shape[-2:])
    if len(masks) != 1:
        raise ValueError(f"there are {len(masks)} masks: connect one, of {where} in every picture")
    with torch.inference_mode(False):  # what is made here takes part in a gradient later
        return masks[0].to("cpu", torch.float32, copy=True)
