"""An identity: who or what the reference images show, to one discriminator."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from ..discriminators.base import Discriminator
from ..images.regions import Region

MATCHINGS = ("mean", "nearest")


@dataclass(frozen=True)
class Identity:
    """N references of one identity.

    embeddings: ``(N, D)``, unit vectors; crops: ``(N, 3, s, s)`` in [0, 1], what was looked at.
    weights: ``(N,)``, >= 0, how much each counts; 0 leaves it out.
    matching: "mean" compares with the weighted mean of the embeddings, "nearest" with each and takes the most similar.
    query: ``(N, Q)``, what a detector shall look for, where it needs telling.
    seen: for each reference, its image ``(3, H, W)`` and all regions found in it; empty where it was loaded.
    doubts: warnings in a user's words.
    """

    discriminator: Discriminator
    embeddings: Tensor
    crops: Tensor
    weights: Tensor
    matching: str = "mean"
    query: Tensor | None = None
    seen: list[Reference] = field(default_factory=list)
    doubts: tuple[str, ...] = ()

    @property
    def embedding(self) -> Tensor:
        """The weighted mean, a unit vector ``(D,)``."""
        return F.normalize(self.weights.to(self.embeddings) @ self.embeddings, dim=0)

    def similarity(self, embeddings: Tensor) -> Tensor:
        """Of unit vectors ``(B, D)`` to this identity: ``(B,)``, cosines; differentiable."""
        if self.matching == "mean":
            return embeddings @ self.embedding.to(embeddings)
        return (embeddings @ self.embeddings[self.weights > 0].to(embeddings).T).amax(dim=1)


@dataclass(frozen=True)
class Reference:
    """A reference image ``(3, H, W)``, the regions found in it, and the one that was chosen."""

    image: Tensor
    regions: list[Region]
    chosen: Region
