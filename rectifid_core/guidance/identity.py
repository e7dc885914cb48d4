"""The energy of an identity: 100 * (1 - cosine similarity), the paper's for faces and subjects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..discriminators.base import Discriminator
from ..identity.identity import Identity
from ..images.regions import Region
from ..images.views import Views, views_or_none
from ..interfaces import Observation
from .base import Network, check_gradient
from .tracking import Tracker, searches

FACTOR = 100.0  # the paper's; with it a gradient is rarely shorter than the norm 1 to which it is clipped
# Colour first: its weight, and for how many iterations.  A network that tells people apart pulls a face whose skin is
# of another colour to one that only it takes for the same; the colour brings it to where the pull is right.
COLOR_FACTOR, COLOR_ITERATIONS = 3000.0, 2
PIXEL_FACTOR = 1000.0  # the paper's, for the mean absolute difference of the crops


class RegionEnergy:
    """How far a region of each image is from an identity: 100 * (1 - cos), averaged over random views of its crop.

    views: None looks at the plain crop only, as published.
    pixels: the weight of the paper's pixel term, 1000 * mean |crop - reference crop|, for rigid objects; 0 for none.
    color_until: before this iteration, the energy has 3000 times the squared distance of the colours, too.
    """

    def __init__(
        self,
        identity: Identity,
        discriminator: Discriminator,
        views: Views | None = None,
        pixels: float = 0.0,
        color_until: int = 0,
    ) -> None:
        self._identity = identity
        self._discriminator = discriminator
        self._views = views
        self._pixels = pixels
        self._color_until = color_until

    def __call__(
        self, image: Tensor, iteration: int, regions: Sequence[Region | None], found: Sequence[bool]
    ) -> Observation:
        """Of ``(B, 3, H, W)`` with a region for each; for None the energy 0, its gradient 0, and the similarity nan.

        found: for each image, whether its region was found in this very one.
        """
        there = {sample: region for sample, region in enumerate(regions) if region is not None}
        samples = list(there)
        energy = (image * 0).flatten(1).sum(dim=1)  # the graph, where there is nothing to look at
        similarity = torch.full_like(energy, torch.nan, requires_grad=False)
        if samples:
            index = torch.tensor(samples, device=image.device)
            crop = self._discriminator.crop(image[index], list(there.values()))
            check_gradient(image, crop, self._discriminator.name)
            distance, cosine = self._compare(crop, iteration, samples)
            energy = energy.index_put((index,), distance.to(energy))
            similarity = similarity.index_put((index,), cosine.to(similarity))
        return Observation(energy, similarity.detach(), torch.tensor(found, device=image.device))

    def _compare(self, crop: Tensor, iteration: int, samples: list[int]) -> tuple[Tensor, Tensor]:
        """The energy of each crop, and the similarity of the plain crop."""
        if self._views is None:
            similarity = judged = self._similarity(crop)
        else:
            judged = self._similarity(self._views(crop, iteration, samples)).view(self._views.count, -1).mean(dim=0)
            with torch.no_grad():
                similarity = self._similarity(crop)
        check_gradient(crop, judged, self._discriminator.name)
        energy = FACTOR * (1 - judged)
        if self._pixels:
            energy = energy + self._pixels * PIXEL_FACTOR * self._difference(crop).to(energy)
        if iteration < self._color_until:
            energy = energy + COLOR_FACTOR * self._identity.color_difference(self._discriminator.color(crop)).to(energy)
        return energy, similarity

    def _similarity(self, crops: Tensor) -> Tensor:
        return self._identity.similarity(self._discriminator.embed(crops))

    def _difference(self, crop: Tensor) -> Tensor:
        """The mean absolute difference to the reference's crop, to the nearest one: ``(B,)``."""
        references = self._identity.crops[self._identity.weights > 0].to(crop)
        return (crop[:, None] - references[None]).abs().flatten(2).mean(dim=2).amin(dim=1)


class IdentityEnergy:
    """How far each image is from an identity, see `RegionEnergy`; for one run.

    detect_every, mask: see `Tracker`; color_until: see `RegionEnergy`.

    An image in which nothing was found, ever, has the energy 0 with a gradient of 0, and the similarity nan.
    """

    def __init__(
        self,
        identity: Identity,
        discriminator: Discriminator,
        views: Views | None = None,
        *,
        detect_every: int = 1,
        pixels: float = 0.0,
        mask: Tensor | None = None,
        color_until: int = 0,
    ) -> None:
        self._track = Tracker(discriminator, identity.query, detect_every, mask)
        self._compare = RegionEnergy(identity, discriminator, views, pixels, color_until)

    def __call__(self, image: Tensor, iteration: int) -> Observation:
        regions, found = self._track(image, iteration)
        return self._compare(image, iteration, regions, found)


@dataclass(frozen=True)
class IdentityGuidance:
    """Draws an image to an identity, as the discriminator sees it that made it.

    detect_every, mask: see `Tracker`; pixels: see `RegionEnergy`.
    color_first: whether the first iterations bring the colour nearer, too, see `Discriminator.color`.
    """

    identity: Identity
    discriminator: Discriminator
    detect_every: int = 1
    pixels: float = 0.0
    mask: Tensor | None = None
    color_first: bool = True

    def __post_init__(self) -> None:
        if self.detect_every < 1:
            raise ValueError(f"the detector must run at every iterate or every n-th, n >= 1, not {self.detect_every}")
        if not 0 <= self.pixels < math.inf:
            raise ValueError(f"the weight of the pixels must be 0 or more, not {self.pixels}")
        if self.mask is not None and not (self.mask > 0.5).any():
            raise ValueError("the mask is empty: paint over where the identity belongs, or disconnect the mask")

    @property
    def networks(self) -> list[Network]:
        return [self.discriminator]

    @property
    def searches(self) -> bool:
        """Whether its region is found in each image."""
        return searches(self.discriminator, self.identity.query)

    @property
    def changes(self) -> list[int]:
        """The iterations, counted from its start, at which its energy becomes another one."""
        return [COLOR_ITERATIONS] if self.color_first else []

    def energy(self, views: int = 4, seed: int = 0, start: int = 0) -> IdentityEnergy:
        """start: the first iteration in which it counts."""
        return IdentityEnergy(
            self.identity,
            self.discriminator,
            views_or_none(views, seed),
            detect_every=self.detect_every,
            pixels=self.pixels,
            mask=self.mask,
            color_until=start + COLOR_ITERATIONS if self.color_first else 0,
        )
