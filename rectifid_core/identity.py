"""An identity: who or what the reference images show, to one discriminator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .discriminator import Discriminator
from .energy import IdentityEnergy
from .views import Views

SMALLEST_IMAGE = 8  # pixels


@dataclass(frozen=True)
class Identity:
    """embedding: ``(D,)``, a unit vector; crops: ``(N, 3, s, s)`` in [0, 1], what was looked at, by reference."""

    discriminator: Discriminator
    embedding: Tensor
    crops: Tensor

    def energy(self, views: int = 4, seed: int = 0) -> IdentityEnergy:
        """The energy that draws an image to this identity; ``views=0`` looks at the plain crop only, as published."""
        return IdentityEnergy(self.discriminator, self.embedding, Views(views, seed) if views else None)


def encode_identity(discriminator: Discriminator, images: Tensor) -> Identity:
    """The identity of one or more reference images ``(N, 3, H, W)`` in [0, 1]: the mean of their unit embeddings.

    Raises ValueError, in a user's words, for images that cannot show anyone.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"reference images must be RGB, (N, 3, H, W); these have the shape {tuple(images.shape)}")
    if len(images) == 0:
        raise ValueError("no reference image: connect at least one")
    height, width = images.shape[-2:]
    if min(height, width) < SMALLEST_IMAGE:
        raise ValueError(
            f"the reference image has only {width} x {height} pixels; "
            f"use one of at least {SMALLEST_IMAGE} x {SMALLEST_IMAGE}"
        )
    for number, image in enumerate(images, 1):
        if not image.isfinite().all():
            raise ValueError(f"reference image {number} of {len(images)} has pixels that are nan or infinite")
    with torch.no_grad():
        crops = discriminator.crop(images, discriminator.locate(images))
        embedding = F.normalize(discriminator.embed(crops).mean(dim=0), dim=0)
    return Identity(discriminator, embedding, crops)
