"""Which of the identities of one discriminator is which of the regions that were found in a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..discriminators.base import Discriminator
from ..identity.identity import Identity
from ..images.masks import fit_mask, lies_in
from ..images.regions import Region, overlap, size_of
from ..packages import importing

# What it is worth, in cosine, that a region stays its identity's.  Two people who swap both lose it, so that their
# summed similarity must rise by twice as much.  Measured on the demo model: from iterate to iterate, the difference of
# a face's similarities to two people wavers by about 0.1, long after it has been decided who it is.
MARGIN = 0.1
SAME = 0.5  # overlap from which two boxes are around the same thing
_DOUBTFUL = 100.0  # what a doubtful region costs: more than any likeness can be worth
_NEVER = -1e4


def assign(worth: Tensor) -> list[int | None]:
    """For each identity its region: as many pairs as there can be, and of these the ones with the greatest sum.

    worth: ``(I, R)``, of each pair; -inf where a region cannot be an identity's.
    """
    with importing("scipy>=1.10", "two identities in one picture"):
        from scipy.optimize import linear_sum_assignment
    assigned: list[int | None] = [None] * len(worth)
    for identity, region in zip(*linear_sum_assignment(worth.clamp(min=_NEVER).numpy(), maximize=True), strict=True):
        if worth[identity, region] > _NEVER:
            assigned[identity] = int(region)
    return assigned


class GroupTracker:
    """The region of each identity of a group, all of one discriminator, iterate by iterate; one tracker serves one run.

    masks: one for each identity, or None; see `tracking.Tracker`, as for ``detect_every``.

    The detector runs once for all of them, and no two get the same region.  Who is who follows from the greatest summed
    similarity, where staying is worth up to `MARGIN`.  Regions below the detector's threshold go, the surest first, to
    those for whom no other is left.  Who is missing stays at the last place, until another is found there.
    """

    def __init__(
        self,
        identities: Sequence[Identity],
        discriminator: Discriminator,
        masks: Sequence[Tensor | None] | None = None,
        detect_every: int = 1,
    ) -> None:
        self._identities = list(identities)
        self._discriminator = discriminator
        self._masks = [None] * len(self._identities) if masks is None else list(masks)
        self._detect_every = detect_every
        queries = [identity.query for identity in self._identities if identity.query is not None]
        self._query = torch.cat([torch.atleast_2d(query) for query in queries]) if queries else None
        self._places: list[list[Region | None]] = []
        self._found: list[list[bool]] = []

    @torch.no_grad()
    def __call__(self, image: Tensor, iteration: int) -> list[tuple[list[Region | None], list[bool]]]:
        """For each identity, as `Tracker`: its region in each of ``(B, 3, H, W)``, and whether it was found now."""
        image = image.detach()
        if len(self._places) != len(image):
            self._places = [[None] * len(self._identities) for _ in image]
        if iteration % self._detect_every == 0:
            size = size_of(image)
            masks = [None if mask is None else fit_mask(mask, size) for mask in self._masks]
            located = self._discriminator.locate(image, self._query)
            likeness = self._likeness(image, located)
            now = [self._choose(*sample, masks) for sample in zip(located, likeness, self._places, strict=True)]
            self._found = [[region is not None for region in regions] for regions in now]
            self._places = [_stay(regions, last) for regions, last in zip(now, self._places, strict=True)]
        return [
            ([regions[i] for regions in self._places], [found[i] for found in self._found])
            for i in range(len(self._identities))
        ]

    def _likeness(self, image: Tensor, located: list[list[Region]]) -> list[Tensor]:
        """For each image ``(I, R)``: the similarity of each identity to each region; all embedded at once."""
        crops = [
            self._discriminator.crop(sample.expand(len(regions), -1, -1, -1), regions)
            for sample, regions in zip(image, located, strict=True)
            if regions
        ]
        if not crops:
            return [torch.zeros(len(self._identities), 0)] * len(image)
        embeddings = self._discriminator.embed(torch.cat(crops))
        likeness = torch.stack([identity.similarity(embeddings) for identity in self._identities]).double().cpu()
        return list(likeness.nan_to_num(nan=-1.0).split([len(regions) for regions in located], dim=1))

    def _choose(
        self, located: list[Region], likeness: Tensor, last: list[Region | None], masks: list[Tensor | None]
    ) -> list[Region | None]:
        worth = likeness.clone()
        for i, (place, mask) in enumerate(zip(last, masks, strict=True)):
            for j, region in enumerate(located):
                if mask is not None and not lies_in(region, mask):
                    worth[i, j] = -torch.inf
                elif region.score < self._discriminator.threshold:
                    worth[i, j] = region.score - _DOUBTFUL
                elif place is not None:
                    worth[i, j] += MARGIN * overlap(region, place)
        return [None if j is None else located[j] for j in assign(worth)]


def _stay(now: list[Region | None], last: list[Region | None]) -> list[Region | None]:
    """The regions of now; who is missing stays at the last, where nobody else is found now."""
    taken = [region for region in now if region is not None]

    def free(place: Region | None) -> bool:
        return place is not None and all(overlap(place, region) < SAME for region in taken)

    return [region or (place if free(place) else None) for region, place in zip(now, last, strict=True)]
