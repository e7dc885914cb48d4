"""An identity: who or what the reference images show, to one discriminator."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from ..discriminators.base import Discriminator
from ..images.regions import Region

MATCHINGS = ("mean", "nearest")
LIGHTNESS = 0.5


@dataclass(frozen=True)
class Recogniser:
    """Which discriminator made an identity; two are equal whose embeddings mean the same, whatever their names.

    digest: of its weights; preprocessing: what it does to a picture before, in words; see `Discriminator`.
    """

    name: str = field(compare=False)
    digest: str
    preprocessing: str

    @classmethod
    def of(cls, discriminator: Discriminator) -> Recogniser:
        return cls(discriminator.name, discriminator.digest, discriminator.preprocessing)


@dataclass(frozen=True)
class Reference:
    """A reference image ``(3, H, W)``, the regions found in it, and the index of the one that was chosen."""

    image: Tensor
    regions: list[Region]
    index: int

    @property
    def chosen(self) -> Region:
        return self.regions[self.index]


@dataclass(frozen=True)
class Identity:
    """N references of one identity, as data; the network that made it stands beside it.

    embeddings: ``(N, D)``, unit vectors; crops: ``(N, 3, s, s)`` in [0, 1], what was looked at.
    colors: ``(N, 3)``, the mean colour of what they are of, see `Discriminator.color`.
    weights: ``(N,)``, >= 0, how much each counts; 0 leaves it out.
    matching: "mean" compares with the weighted mean of the embeddings, "nearest" with each and takes the most similar.
    query: ``(N, Q)``, what a detector should look for, where it needs telling.
    references: what was encoded; empty where the identity was loaded from a file, which does not keep it.
    doubts: warnings for its user.
    """

    recogniser: Recogniser
    embeddings: Tensor
    crops: Tensor
    colors: Tensor
    weights: Tensor
    matching: str = "mean"
    query: Tensor | None = None
    references: tuple[Reference, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def embedding(self) -> Tensor:
        """The weighted mean, a unit vector ``(D,)``."""
        return F.normalize(self._relative_weights @ self.embeddings, dim=0)

    @property
    def _relative_weights(self) -> Tensor:
        """The weights over the greatest of them, so that neither 1e30 nor 1e-30 is lost in the sum."""
        weights = self.weights.double()
        return (weights / weights.max()).to(self.embeddings)

    def similarity(self, embeddings: Tensor) -> Tensor:
        """Of unit vectors ``(B, D)`` to this identity: ``(B,)``, cosines; differentiable."""
        if self.matching == "mean":
            return embeddings @ self.embedding.to(embeddings)
        return (embeddings @ self.embeddings[self.weights > 0].to(embeddings).T).amax(dim=1)

    def color_difference(self, colors: Tensor) -> Tensor:
        """Of colours ``(B, 3)`` in OKLab to this identity's: ``(B,)``, squared distances; differentiable.

        Lightness counts `LIGHTNESS` of what its difference is: it is the scene's as well as the person's.
        """
        counts = colors.new_tensor([LIGHTNESS, 1.0, 1.0])
        own = self.colors.to(colors)
        if self.matching == "mean":
            own = (self._relative_weights.to(colors) @ own / self._relative_weights.to(colors).sum())[None]
        else:
            own = own[self.weights > 0]
        return ((colors[:, None] - own) * counts).square().sum(dim=2).amin(dim=1)
