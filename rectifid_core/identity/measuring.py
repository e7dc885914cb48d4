"""How similar images are to an identity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..discriminators.base import Discriminator
from ..images.regions import Region
from .identity import Identity


@dataclass(frozen=True)
class Measurement:
    """The most similar region of an image, its similarity, a cosine in [-1, 1], and why to doubt it, or None."""

    similarity: float
    region: Region
    doubt: str | None = None


@torch.no_grad()
def measure(identity: Identity, discriminator: Discriminator, images: Tensor) -> list[Measurement | None]:
    """For each of ``(B, 3, H, W)`` in [0, 1] the region that is most similar; None where nothing was found.

    Regions below the discriminator's threshold count only where there is no other, and then the surest of them: as the
    sampler sees it.  ``images`` lie where the discriminator's networks are.

    Raises FloatingPointError, with advice, where the discriminator makes no numbers of an image.
    """
    found = discriminator.locate(images, identity.query, thorough=True)
    return [
        _most_similar(identity, discriminator, image, regions) for image, regions in zip(images, found, strict=True)
    ]


def _most_similar(
    identity: Identity, discriminator: Discriminator, image: Tensor, regions: list[Region]
) -> Measurement | None:
    if not regions:
        return None
    sure = [region for region in regions if region.score >= discriminator.threshold]
    regions = sure or [max(regions, key=lambda region: region.score)]
    crops = discriminator.crop(image.expand(len(regions), -1, -1, -1), regions)
    similarity = identity.similarity(discriminator.embed(crops)).tolist()
    best = max(range(len(regions)), key=similarity.__getitem__)
    return Measurement(similarity[best], regions[best], discriminator.doubt(regions[best], crops[best]))
