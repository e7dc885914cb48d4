"""What is where in a picture, as a segmenter sees it: one of its labels covers a mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..discriminators.segmenter import Segmenter
from ..images.masks import fit_mask
from ..images.regions import size_of
from ..images.views import Views, views_or_none
from ..interfaces import Observation
from .base import Network

FACTOR = 100.0  # a label that is nowhere in the picture starts at a few hundred, one that is half there near 100


@dataclass(frozen=True)
class SegmentationGuidance:
    """Draws a label of a segmenter to where a mask is, and nowhere else.

    mask: ``(h, w)``, of the image's shape at any size, in [0, 1]; above a half: there.  ValueError for a label that the
    segmenter does not know, and for a mask of nothing.
    """

    segmenter: Segmenter
    label: str
    mask: Tensor

    def __post_init__(self) -> None:
        self.segmenter.class_of(self.label)
        if not (self.mask > 0.5).any():
            raise ValueError(f"the mask is empty: paint over where {self.label} belongs")

    @property
    def networks(self) -> list[Network]:
        return [self.segmenter]

    def energy(self, views: int = 4, seed: int = 0) -> SegmentationEnergy:
        return SegmentationEnergy(self.segmenter, self.label, self.mask, views_or_none(views, seed))


class SegmentationEnergy:
    """100 * the cross-entropy of "this pixel shows the label" and a mask, averaged over random views.

    Inside and outside of the mask count alike, whatever its size.  Similarity: the overlap of the label's probability
    and the mask, their minimum over their maximum in sum, from 0 to 1.
    """

    def __init__(self, segmenter: Segmenter, label: str, mask: Tensor, views: Views | None = None) -> None:
        self._segmenter = segmenter
        self._class = segmenter.class_of(label)
        self._mask = mask
        self._views = views

    def __call__(self, image: Tensor, iteration: int) -> Observation:
        size = size_of(image)
        goal = (fit_mask(self._mask, size) > 0.5).to(image)[None, None]
        if self._views is None:
            energy, there, inside = self._look(image, goal.expand(len(image), -1, -1, -1))
        else:  # the mask moves with the picture, and nothing else becomes of it
            side = self._segmenter.input_size
            small = F.interpolate(goal, (side, side), mode="bilinear", antialias=True)[0, 0]
            moved = self._views.move(small, size, iteration, range(len(image)))
            energy, _, _ = self._look(self._views(image, iteration), moved)
            energy = energy.view(self._views.count, -1).mean(dim=0)
            with torch.no_grad():
                _, there, inside = self._look(image, goal.expand(len(image), -1, -1, -1))
        if not inside.any():
            height, width = inside.shape[-2:]
            raise ValueError(
                f"nothing is left of the mask on the {width} x {height} points at which {self._segmenter.name} says "
                "what it sees: paint over a larger part"
            )
        return Observation(FACTOR * energy, _overlap(there.detach().exp(), inside))

    def _look(self, image: Tensor, goal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The cross-entropy ``(B,)``; log p of the label, and where it belongs: ``(B, h, w)`` each."""
        log_p = self._segmenter.log_probabilities(image)
        there = log_p[:, self._class]
        others = [number for number in range(log_p.shape[1]) if number != self._class]
        elsewhere = log_p[:, others].logsumexp(dim=1)
        inside = F.interpolate(goal, there.shape[-2:], mode="bilinear", antialias=True)[:, 0] > 0.5
        return _cross_entropy(there, elsewhere, inside), there, inside


def _cross_entropy(there: Tensor, elsewhere: Tensor, inside: Tensor) -> Tensor:
    """Of each sample, ``(B,)``."""
    sides = [(inside, there), (~inside, elsewhere)]
    means = [(log_p * side).sum(dim=(1, 2)) / side.sum(dim=(1, 2)).clamp(min=1) for side, log_p in sides]
    return -(means[0] + means[1]) / 2


def _overlap(p: Tensor, inside: Tensor) -> Tensor:
    inside = inside.to(p)
    return p.minimum(inside).sum(dim=(1, 2)) / p.maximum(inside).sum(dim=(1, 2))
