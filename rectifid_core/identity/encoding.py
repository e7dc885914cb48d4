"""Reference images to an identity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ..discriminators.base import Discriminator
from ..images.masks import box_of, check_mask
from ..images.regions import Region, size_of
from ..images.validation import as_rgb
from .identity import MATCHINGS, Identity, Recogniser, Reference
from .selection import find_regions, select_region

AT_ONCE = 16  # crops that the network embeds together
_CANCELLED = 1e-3  # the length of a mean of unit vectors below which they have nothing in common


def encode_identity(
    discriminator: Discriminator,
    images: Iterable[Tensor],
    *,
    strategy: str = "only",
    index: int = 0,
    masks: Sequence[Tensor | None] | None = None,
    text: str = "",
    weights: Sequence[float] | None = None,
    matching: str = "mean",
    before_each: Callable[[], None] = lambda: None,
) -> Identity:
    """The identity that one or more reference images show, ``(C, H, W)`` each as `images.as_rgb` takes them.

    strategy, index: which of the regions in an image, see `select_region`.
    masks: for each image ``(H, W)`` or None; chooses the region that it covers, or is itself the region where the
        discriminator does not detect by itself.
    text: what to look for, for a discriminator that can read.
    weights: one for each image, >= 0, not all 0; None: all the same.
    matching: see `Identity`.
    before_each: called before each image and each batch of crops; what it raises ends the work.

    Raises ValueError, with advice, for images in which nobody, or more than one, can be meant, and for a discriminator
    that makes no unit vectors of them; FloatingPointError, from the discriminator, where it makes no numbers.
    """
    if matching not in MATCHINGS:
        raise ValueError(f"unknown matching {matching!r}; choose one of {', '.join(MATCHINGS)}")
    images = as_rgb(images, "reference image")
    masks = [None] * len(images) if masks is None else masks
    if len(masks) != len(images):
        raise ValueError(f"there are {len(images)} reference images and {len(masks)} masks; connect one for each")
    weights = [1.0] * len(images) if weights is None else list(weights)
    if len(weights) != len(images):
        raise ValueError(f"there are {len(images)} reference images and {len(weights)} weights; give one for each")
    if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        raise ValueError("the weights must be 0 or more, and not all of them 0")

    references, crops, colors, queries, doubts = [], [], [], [], []
    with torch.no_grad():
        text_query = discriminator.text_query(text)
        for number, (image, mask) in enumerate(zip(images, masks, strict=True), 1):
            before_each()
            place = "the reference image" if len(images) == 1 else f"reference image {number} of {len(images)}"
            try:
                regions, chosen = _look(discriminator, image, text_query, strategy, index, mask)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            reference = Reference(image, regions, chosen)
            crop = discriminator.crop(image[None], [reference.chosen])
            if doubt := discriminator.doubt(reference.chosen, crop[0]):
                doubts.append(doubt if len(images) == 1 else f"reference image {number}: {doubt}")
            references.append(reference)
            crops.append(crop)
            painted = None if mask is None else mask.to(image).expand(1, 3, -1, -1)
            where = None if painted is None else discriminator.crop(painted, [reference.chosen])[:, :1]
            colors.append(discriminator.color(crop, where))
            queries.append(discriminator.image_query(image, reference.chosen))
        crops = torch.cat(crops)
        embeddings = []
        for some in crops.split(AT_ONCE):
            before_each()
            embeddings.append(discriminator.embed(some))
    identity = Identity(
        Recogniser.of(discriminator),
        torch.cat(embeddings),
        crops,
        torch.cat(colors),
        torch.tensor(weights, dtype=torch.float64),
        matching,
        None if queries[0] is None else torch.stack(queries),
        tuple(references),
        tuple(doubts),
    )
    _check(identity)
    return identity


def _look(
    discriminator: Discriminator, image: Tensor, query: Tensor | None, strategy: str, index: int, mask: Tensor | None
) -> tuple[list[Region], int]:
    """All regions of one reference image ``(3, H, W)``, and the index of the one that is meant."""
    size = size_of(image)
    if discriminator.detects or query is not None:
        regions = find_regions(discriminator, image, query)
        chosen = {"strategy": strategy, "index": index, "mask": mask, "by_words": query is not None}
        return regions, select_region(regions, discriminator.noun, size, **chosen)
    if mask is not None:
        check_mask(mask, size)
        region = box_of(mask)
    else:
        region = discriminator.locate(image[None])[0][0]
    return [region], 0


def _check(identity: Identity) -> None:
    """Raises ValueError, with advice, unless the embeddings are unit vectors that have something in common."""
    name, count = identity.recogniser.name, len(identity.embeddings)
    lengths = torch.linalg.vector_norm(identity.embeddings, dim=1, dtype=torch.float64)
    for number, length in enumerate(lengths.tolist(), 1):
        if not abs(length - 1) < 1e-2:  # the normalised embedding of zeros, or no number
            place = "the reference image" if count == 1 else f"reference image {number} of {count}"
            raise ValueError(
                f"{name} makes no embedding of {place}, but {'zeros' if length == 0 else 'nan or infinity'}. Set its "
                "loader to the mean and std that it was trained with, and to the precision fp32, if there is a choice; "
                "else download its file again"
            )
    if identity.query is not None and not identity.query.isfinite().all():
        raise ValueError(
            f"the detector of {name} makes numbers that are nan or infinite of the reference images. Load it with the "
            "precision fp32, or download its files again"
        )
    if identity.matching == "mean":
        weights = identity.weights / identity.weights.sum()
        if torch.linalg.vector_norm(weights.to(identity.embeddings) @ identity.embeddings) < _CANCELLED:
            raise ValueError(
                "the reference images have nothing in common, so that their mean is nobody. Use images of one person "
                "or thing, or the matching 'nearest'"
            )
