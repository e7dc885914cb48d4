"""What each pixel of a portrait shows: the renderer's shapes again, in the colours of their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from portrait import SUPERSAMPLING, Identity, Scene, _Canvas, _shade, _skin, parts

LABELS = ("background", "face", "hair", "beard", "hat", "shirt")


class _Labels(_Canvas):
    """Paints everything in the label of the part that is its turn; skin is face, whatever it is a part of."""

    def __init__(self, size: int, skin: tuple[int, int, int]):
        super().__init__(size, (0, 0, 0))
        self.image = Image.new("L", (self.side, self.side), LABELS.index("background"))
        self.pen = ImageDraw.Draw(self.image)
        self.skin = (skin, _shade(skin, 0.74))
        self.part = "background"

    def _label(self, color) -> int:
        return LABELS.index("face" if color in self.skin else self.part)

    def polygon(self, points, color) -> None:
        super().polygon(points, self._label(color))

    def line(self, points, width, color) -> None:
        super().line(points, width, self._label(color))


def draw_labels(people: Sequence[tuple[Identity, Scene]], size: int = 128) -> np.ndarray:
    """For each pixel of `portrait.draw_together` the number of its label: ``(size, N * size)`` uint8."""
    panels = []
    for identity, scene in people:
        canvas = _Labels(size, _skin(identity.skin))
        for part, paint in parts(canvas, identity, scene):
            canvas.part = part
            paint()
        middle = SUPERSAMPLING // 2
        panels.append(np.asarray(canvas.image)[middle::SUPERSAMPLING, middle::SUPERSAMPLING])
    return np.concatenate(panels, axis=1)
