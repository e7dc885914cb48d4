"""A run as a strip of small pictures."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .report import Report

SIDE = 128  # pixels of a small picture's shorter side at most, and so of what a report keeps of each iterate
_HEAD, _GAP = 22, 4


def small(image: Tensor) -> np.ndarray:
    """``(B, 3, H, W)`` in [0, 1] as ``(B, h, w, 3)`` uint8, in its proportions and not larger than it is."""
    scale = min(1.0, SIDE / min(image.shape[-2:]))
    size = [max(1, round(edge * scale)) for edge in image.shape[-2:]]
    resized = F.interpolate(image.float(), size, mode="bilinear", antialias=True) if scale < 1 else image.float()
    return (resized.clamp(0, 1) * 255).round().byte().movedim(1, -1).cpu().numpy()


def chosen(report: Report, every: int) -> list[int]:
    """Which iterates a strip shows: the first, each picture's best, the last, and every n-th; 0 for none of these."""
    count = len(report.number)
    found = {0, count - 1}
    for sample in range(len(report.similarity[0])):
        drawn = [i for i in range(count) if report.found[i][sample] and not report.predicted[i]]
        found |= {max(drawn, key=lambda i: report.similarity[i][sample])} if drawn else set()
    return sorted(found | set(range(0, count, every) if every else ()))


def filmstrip(report: Report, every: int) -> np.ndarray:
    """The pictures of a report, a row for each sample of the batch, under their numbers and similarities.

    ``(H, W, 3)`` uint8; of a report without pictures, as of denoise 0, a page that says so.
    """
    if not report.pictures:
        page = Image.new("RGB", (220, _HEAD), "white")
        ImageDraw.Draw(page).text((2, 3), "nothing was drawn", fill="black", font=ImageFont.load_default(size=13))
        return np.asarray(page)
    columns = chosen(report, every)
    rows, height, width, _ = report.pictures[0].shape
    page = Image.new("RGB", (len(columns) * (width + _GAP) - _GAP, rows * (height + _HEAD + _GAP) - _GAP), "white")
    pen, font = ImageDraw.Draw(page), cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=13))  # has a size
    for column, i in enumerate(columns):
        for sample in range(rows):
            left, top = column * (width + _GAP), sample * (height + _HEAD + _GAP)
            seen = f"{report.similarity[i][sample]:.3f}" if report.found[i][sample] else "not found"
            pen.text((left + 2, top + 3), f"{report.number[i]}: {seen}", fill="black", font=font)
            page.paste(Image.fromarray(report.pictures[i][sample]), (left, top + _HEAD))
    return np.asarray(page)
