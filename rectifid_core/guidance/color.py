"""The palette of a picture: which colours it has and how much of each, wherever they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ..images.masks import fit_mask
from ..images.oklab import oklab
from ..images.regions import size_of
from ..interfaces import Observation
from .base import Network

FACTOR = 1000.0  # two pictures of unlike colours are at a distance of 0.3: an energy near 100, as of an identity
QUANTILES = 65536  # of a reference, which may have more pixels
SAMPLE = 4 * QUANTILES  # pixels of a reference that are sorted


@dataclass(frozen=True)
class ColorGuidance:
    """Draws an image to the palette of a reference; it needs no network.

    reference: ``(3, H, W)`` in [0, 1]; mask: ``(h, w)``, of the image's shape at any size, where in it the palette
    counts (above a half); None: everywhere.  ValueError for a mask that marks nothing.
    """

    reference: Tensor
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and not (self.mask > 0.5).any():
            raise ValueError("the mask is empty: paint over where the colours belong, or disconnect the mask")

    @property
    def networks(self) -> list[Network]:
        return []

    @cached_property
    def palette(self) -> Tensor:
        """Of the reference, as `palette_of`; for all runs."""
        return palette_of(self.reference)

    def energy(self, views: int = 4, seed: int = 0) -> ColorEnergy:
        """Views are for networks, which can be fooled; a palette is what it is."""
        return ColorEnergy(self.palette, self.mask)


class ColorEnergy:
    """The squared sliced Wasserstein distance of the colours of each image to a palette, in OKLab; see `palette_of`.

    The distance d is how far the colours would have to move, on average: 0 for the same palette in any arrangement, 1
    from black to white.  Energy: 1000 * d^2; similarity: 1 - d.
    """

    def __init__(self, palette: Tensor, mask: Tensor | None = None) -> None:
        self._mask = mask
        self._palette = palette

    def __call__(self, image: Tensor, iteration: int) -> Observation:
        along = _sorted_along(self._where_it_counts(image))
        goal = _quantiles(self._palette.to(image), along.shape[-1])
        # Along one axis of space lies, on average, a third of a distance squared.
        squared = 3 * (along - goal).square().mean(dim=(1, 2))
        return Observation(FACTOR * squared, 1 - squared.detach().sqrt())

    def _where_it_counts(self, image: Tensor) -> Tensor:
        """The pixels, ``(B, 3, N)``."""
        if self._mask is None:
            return image.flatten(2)
        mask = fit_mask(self._mask, size_of(image)).to(image.device) > 0.5
        return image[:, :, mask]


def palette_of(reference: Tensor) -> Tensor:
    """The colours of an image ``(3, H, W)``, rising along each axis: ``(A, N)``, N <= `QUANTILES`.

    Of a large image a sample: a pixel at random from each of `SAMPLE` runs of its pixels, always the same ones.
    """
    pixels = reference.flatten(1)
    if (total := pixels.shape[1]) > SAMPLE:
        within = torch.rand(SAMPLE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        places = ((torch.arange(SAMPLE) + within) * (total / SAMPLE)).long().clamp(max=total - 1)
        pixels = pixels[:, places.to(pixels.device)]
    along = _sorted_along(pixels[None])
    return _quantiles(along, min(along.shape[-1], QUANTILES))[0]


def _sorted_along(rgb: Tensor) -> Tensor:
    """``(B, 3, N)``: the places of all colours along each axis, ``(B, A, N)``, rising."""
    return (_AXES.to(rgb) @ oklab(rgb)).sort(dim=-1).values


def _quantiles(rising: Tensor, count: int) -> Tensor:
    """``(..., N)`` rising values as ``count`` of them, evenly; the values themselves where ``count`` is N."""
    shape = rising.shape[:-1]
    return F.interpolate(rising.reshape(1, -1, rising.shape[-1]), count, mode="linear").reshape(*shape, count)


def _axes() -> Tensor:
    """The 6 axes through the corners of an icosahedron and the 10 of a dodecahedron: no direction is preferred."""
    golden = (1 + math.sqrt(5)) / 2
    corners = [(1.0, y, z) for y in (1.0, -1.0) for z in (1.0, -1.0)]
    for long in (golden, golden**2):  # the dodecahedron's other corners are an icosahedron's, longer and thinner
        corners += [each for sign in (1, -1) for each in ((0, sign, long), (sign, long, 0), (long, 0, sign))]
    return F.normalize(torch.tensor(corners, dtype=torch.float64), dim=1)


_AXES = _axes()
