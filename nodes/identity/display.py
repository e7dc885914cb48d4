"""What the identity nodes show on themselves."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ...rectifid_core.identity.identity import Identity
from ...rectifid_core.identity.plot import plot_identity
from ..host.run.progress import tell


def show(cls: type[io.ComfyNode], pictures: list[Tensor], text: str) -> dict:
    """Previews of pictures ``(3, H, W)`` of any sizes, and a text."""
    batch: Any = [picture.movedim(0, -1) for picture in pictures]  # a list will do, whatever the host's annotation says
    previews = ui.PreviewImage(batch, cls=cls)
    return previews.as_dict() | tell(text, cls.hidden.unique_id)


def plot(identity: Identity) -> Tensor:
    """`plot_identity` as ``(3, H, W)`` in [0, 1]."""
    return torch.from_numpy(plot_identity(identity)).movedim(-1, 0).float() / 255
