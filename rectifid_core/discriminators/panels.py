"""A recogniser of portraits that stand side by side, each in a square panel of its own."""

from __future__ import annotations

import itertools

from torch import Tensor

from ..images.regions import Region
from .base import EmbeddingDiscriminator


class PanelDiscriminator(EmbeddingDiscriminator):
    """An `EmbeddingDiscriminator` that looks at each square panel of a picture: two in one twice as wide as high.

    Its box is that of every panel.  In the world of the embedded model, faces have their places, so that no detector
    is needed to find more than one.
    """

    noun = "portrait"
    detects = True

    def locate(self, image: Tensor, query: Tensor | None = None, thorough: bool = False) -> list[list[Region]]:
        """The box of each panel, in whole pixels, from the left; a picture that is not wide is one panel."""
        height, width = image.shape[-2:]
        count = max(1, round(width / height))
        edges = [round(width * i / count) for i in range(count + 1)]
        regions = []
        for left, right in itertools.pairwise(edges):
            ((within,),) = super().locate(image[:1, :, :, left:right])
            box = (within.box[0] + left, within.box[1], within.box[2] + left, within.box[3])
            regions.append(Region(box))
        return [regions] * len(image)
