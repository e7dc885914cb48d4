"""The energy of an identity: 100 * (1 - cosine similarity), the paper's for faces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .discriminator import Discriminator
from .interfaces import Observation
from .views import Views

FACTOR = 100.0  # the paper's; with it a gradient is rarely shorter than the norm 1 to which it is clipped


@dataclass(frozen=True)
class IdentityEnergy:
    """How far each image is from the reference: 100 * (1 - cos), averaged over random views of its crop.

    embedding: ``(D,)``, the reference's unit vector; views: None looks at the plain crop only, as published.
    """

    discriminator: Discriminator
    embedding: Tensor
    views: Views | None = None

    def __call__(self, image: Tensor, iteration: int) -> Observation:
        with torch.no_grad():
            regions = self.discriminator.locate(image)
        crop = self.discriminator.crop(image, regions)
        if self.views is None:
            similarity = seen = self._similarity(crop)
        else:
            seen = self._similarity(self.views(crop, iteration)).view(self.views.count, -1).mean(dim=0)
            with torch.no_grad():
                similarity = self._similarity(crop)
        return Observation(FACTOR * (1 - seen), similarity.detach(), crop.detach())

    def _similarity(self, crops: Tensor) -> Tensor:
        embeddings = self.discriminator.embed(crops)
        return embeddings @ self.embedding.to(embeddings)
