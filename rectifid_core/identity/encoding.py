"""An identity: who or what the reference images show, to one discriminator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..discriminators.base import Discriminator
from ..images.masks import box_of, check_mask
from ..images.regions import Region
from ..images.validation import as_rgb
from .identity import MATCHINGS, Identity, Reference
from .selection import choose


def encode_identity(
    discriminator: Discriminator,
    images: Iterable[Tensor],
    *,
    by: str = "only",
    index: int = 0,
    masks: Sequence[Tensor | None] | None = None,
    text: str = "",
    weights: Sequence[float] | None = None,
    matching: str = "mean",
) -> Identity:
    """The identity that one or more reference images show, ``(C, H, W)`` each as `images.as_rgb` takes them.

    by, index: which of several regions, see `choice.choose`.
    masks: for each image ``(H, W)`` or None; chooses the region that it covers, or is itself the region where the
        discriminator does not detect by itself.
    text: what to look for, for a discriminator that can read.
    weights: one for each image, >= 0, not all 0; None: all the same.
    matching: see `Identity`.

    Raises ValueError, in a user's words, for images in which nobody, or more than one, can be meant.
    """
    if matching not in MATCHINGS:
        raise ValueError(f"unknown matching {matching!r}; choose one of {', '.join(MATCHINGS)}")
    images = as_rgb(images, "reference image")
    masks = [None] * len(images) if masks is None else masks
    if len(masks) != len(images):
        raise ValueError(f"there are {len(images)} reference images and {len(masks)} masks; connect one for each")
    weights = torch.ones(len(images)) if weights is None else torch.tensor(weights, dtype=torch.float32)
    if len(weights) != len(images):
        raise ValueError(f"there are {len(images)} reference images and {len(weights)} weights; give one for each")
    if (weights < 0).any() or not weights.isfinite().all() or weights.sum() == 0:
        raise ValueError("the weights must be 0 or more, and not all of them 0")

    seen, crops, queries, doubts = [], [], [], []
    with torch.no_grad():
        text_query = discriminator.text_query(text)
        for number, (image, mask) in enumerate(zip(images, masks, strict=True), 1):
            try:
                regions, chosen = _look(discriminator, image, text_query, by, index, mask)
            except ValueError as error:
                place = "the reference image" if len(images) == 1 else f"reference image {number} of {len(images)}"
                raise ValueError(f"{place}: {error}") from error
            crop = discriminator.crop(image[None], [chosen])
            if doubt := discriminator.doubt(chosen, crop[0]):
                doubts.append(doubt if len(images) == 1 else f"reference image {number}: {doubt}")
            seen.append(Reference(image, regions, chosen))
            crops.append(crop)
            queries.append(discriminator.image_query(image, chosen))
        crops = torch.cat(crops)
        embeddings = discriminator.embed(crops)
    query = None if queries[0] is None else torch.stack(queries)
    return Identity(discriminator, embeddings, crops, weights, matching, query, seen, tuple(doubts))


def _look(
    discriminator: Discriminator, image: Tensor, query: Tensor | None, by: str, index: int, mask: Tensor | None
) -> tuple[list[Region], Region]:
    """All regions of one reference image ``(3, H, W)``, and the one that is meant."""
    size = tuple(image.shape[-2:])
    if discriminator.detects or query is not None:
        found = discriminator.locate(image[None], query)[0]
        regions = [region for region in found if region.score >= discriminator.threshold]
        if query is not None and mask is None and by == "only" and regions:
            by, index = "index", 0  # words may fit several boxes around the same thing: the best is meant
        return regions, choose(regions, discriminator.noun, size, by=by, index=index, mask=mask)
    if mask is not None:
        check_mask(mask, size)
        region = box_of(mask)
    else:
        region = discriminator.locate(image[None])[0][0]
    return [region], region
