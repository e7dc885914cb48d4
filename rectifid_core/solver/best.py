"""The best of a run."""

from __future__ import annotations

import torch
from torch import Tensor

from .batched import expand_like
from .iterate import Iterate


class Best:
    """The best iterate so far, for each sample its own: the highest similarity, that of the plain image.

    Images in which nothing was found come last, however similar the place may be where it was before; predicted ones do
    not count.

    After the first `update`: latent ``(B, ...)``, image ``(B, 3, H, W)``, similarity ``(B,)``, found ``(B,)`` bool,
    number ``(B,)`` int.
    """

    latent: Tensor
    image: Tensor
    similarity: Tensor
    found: Tensor
    number: Tensor | None = None
    _rank: Tensor

    def to(self, device: torch.device | str) -> Best:
        """A copy, on that device."""
        moved = Best()
        vars(moved).update({name: value.to(device) for name, value in vars(self).items()})
        return moved

    def update(self, iterate: Iterate) -> None:
        if iterate.predicted:
            return
        number = torch.full_like(iterate.similarity, iterate.number, dtype=torch.long)
        rank = iterate.similarity.where(iterate.found, -torch.inf)
        new = [iterate.latent, iterate.image, iterate.similarity, iterate.found, number, rank]
        if self.number is not None:
            better = rank > self._rank
            old = [self.latent, self.image, self.similarity, self.found, self.number, self._rank]
            new = [torch.where(expand_like(better, x), x, y) for x, y in zip(new, old, strict=True)]
        self.latent, self.image, self.similarity, self.found, self.number, self._rank = new
