"""What the identity nodes show on themselves."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..host.run.progress import tell


def show(cls: type[io.ComfyNode], pictures: list[Tensor], text: str) -> dict:
    """Previews of pictures ``(3, H, W)`` of any sizes, and a text."""
    batch: Any = [picture.movedim(0, -1) for picture in pictures]  # a list will do, whatever the host's annotation says
    previews = ui.PreviewImage(batch, cls=cls)
    return previews.as_dict() | tell(text, cls.hidden.unique_id)
