"""A sheet of pictures: a row for each question, a column for each way to answer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw
from torch import Tensor

HEAD, FOOT = 22, 16  # pixels for the titles, and for each prompt


def sheet(columns: Mapping[str, Tensor], prompts: Sequence[str], side: int, count: int) -> Image.Image:
    """Of the first ``count`` questions; columns: pictures, (N, 3, H, W) in [0, 1], by title; side: pixels of a row."""
    widths = [side * pictures.shape[-1] // pictures.shape[-2] for pictures in columns.values()]
    page = Image.new("RGB", (sum(widths), HEAD + count * (side + FOOT)), "white")
    pen, left = ImageDraw.Draw(page), 0
    for (title, pictures), width in zip(columns.items(), widths, strict=True):
        pen.text((left + 6, 5), title, fill="black", font_size=13)
        for y in range(count):
            picture = Image.fromarray((pictures[y].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
            picture = picture.resize((width - 4, side - 4), Image.Resampling.LANCZOS)
            page.paste(picture, (left + 2, HEAD + y * (side + FOOT) + 2))
        left += width
    for y in range(count):
        pen.text((6, HEAD + y * (side + FOOT) + side - 1), prompts[y], fill="black", font_size=11)
    return page
