"""Follows what an identity is compared with from one iterate to the next."""

from __future__ import annotations

import torch
from torch import Tensor

from ..discriminators.base import Discriminator
from ..images.masks import box_of, fit_mask, lies_in
from ..images.regions import Region, overlap, size_of


class Tracker:
    """The region of each sample, iterate by iterate; one tracker serves one run.

    query: what the detector should look for, from `Discriminator.image_query`.
    detect_every: the detector runs at every n-th iterate, and its last regions stand in between.
    mask: ``(h, w)``, of the images' shape at any size: only regions whose centre it marks count; for a discriminator
        that does not search, the box around what it marks is the region.

    It takes the region that overlaps most with the last; at first, or where none does, the discriminator's first
    choice.  Of regions below the detector's threshold it takes the surest, and only where there is no other.  Where
    there is none at all, the last region stays.
    """

    def __init__(
        self,
        discriminator: Discriminator,
        query: Tensor | None = None,
        detect_every: int = 1,
        mask: Tensor | None = None,
    ) -> None:
        if detect_every < 1:
            raise ValueError(f"the detector must run at every iterate or every n-th, n >= 1, not {detect_every}")
        self._discriminator = discriminator
        self._query = query
        self._mask = mask
        self._detect_every = detect_every
        self._regions: list[Region | None] = []
        self._found: list[bool] = []

    @torch.no_grad()
    def __call__(self, image: Tensor, iteration: int) -> tuple[list[Region | None], list[bool]]:
        """For each of ``(B, 3, H, W)``: its region (None: there never was one), and whether the last look found it."""
        if len(self._regions) != len(image):
            self._regions = [None] * len(image)
        if iteration % self._detect_every == 0:
            located = self._look(image.detach())
            now = [self._pick(regions, last) for regions, last in zip(located, self._regions, strict=True)]
            self._found = [region is not None for region in now]
            self._regions = [region or last for region, last in zip(now, self._regions, strict=True)]
        return self._regions, self._found

    def _look(self, image: Tensor) -> list[list[Region]]:
        if self._mask is None:
            return self._discriminator.locate(image, self._query)
        mask = fit_mask(self._mask, size_of(image))
        if not searches(self._discriminator, self._query):
            return [[box_of(mask)]] * len(image)
        located = self._discriminator.locate(image, self._query)
        return [[region for region in regions if lies_in(region, mask)] for regions in located]

    def _pick(self, regions: list[Region], last: Region | None) -> Region | None:
        if not regions:
            return None
        sure = [region for region in regions if region.score >= self._discriminator.threshold]
        if not sure:
            return max(regions, key=lambda region: region.score)
        if last is None:
            return sure[0]
        return max(sure, key=lambda region: overlap(region, last))  # of equals, the first


def searches(discriminator: Discriminator, query: Tensor | None) -> bool:
    """Whether the regions are found in each image, and not the same in all."""
    return discriminator.detects or query is not None
