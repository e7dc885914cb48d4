"""Several energies at once: identities in one picture, and sums of anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import torch
from torch import Tensor

from .assignment import GroupTracker
from .energy import Comparison
from .interfaces import Energy, Observation

Observe = Callable[[Tensor, int], Mapping[str, Observation]]


class GroupEnergy:
    """What each of several identities of one discriminator sees, by name, each at its own region; for one run."""

    def __init__(self, track: GroupTracker, compare: Mapping[str, Comparison]) -> None:
        self._track = track
        self._compare = compare

    def __call__(self, image: Tensor, iteration: int) -> dict[str, Observation]:
        places = self._track(image, iteration)
        return {
            name: compare(image, iteration, regions, found)
            for (name, compare), (regions, found) in zip(self._compare.items(), places, strict=True)
        }


class Alone:
    """One energy under its name."""

    def __init__(self, name: str, energy: Energy) -> None:
        self._name = name
        self._energy = energy

    def __call__(self, image: Tensor, iteration: int) -> dict[str, Observation]:
        return {self._name: self._energy(image, iteration)}


@dataclass(frozen=True)
class Share:
    """How much an energy counts in a sum, >= 0, and from which iteration on."""

    weight: float = 1.0
    start: int = 0


class WeightedSum:
    """The sum of energies, each times its weight once its iteration has come; for one run.

    shares: one for each name that the ``members`` observe, and in the order in which the parts shall be reported.
    judges: the names whose similarity is the sum's: the mean over those that there are in the image.  Found is whether
        all of them are in sight that ever were, and at least one: who was never there is not waited for.
    """

    def __init__(self, members: Sequence[Observe], shares: Mapping[str, Share], judges: Sequence[str]) -> None:
        self._members = list(members)
        self._shares = dict(shares)
        self._judges = list(judges)
        self._known: Tensor | bool = False  # (J, B), which judge was ever found in which image

    def __call__(self, image: Tensor, iteration: int) -> Observation:
        seen = {name: each for member in self._members for name, each in member(image, iteration).items()}
        energy = (image * 0).flatten(1).sum(dim=1)  # the graph, as long as nothing acts
        for name, share in self._shares.items():
            if iteration >= share.start:
                energy = energy + share.weight * seen[name].energy
        similarity = torch.stack([seen[name].similarity for name in self._judges])
        found = torch.stack([_found(seen[name]) for name in self._judges])
        self._known = found | self._known
        return Observation(
            energy,
            similarity.nanmean(dim=0),
            seen[self._judges[0]].crop,
            self._known.any(dim=0) & (found | ~self._known).all(dim=0),
            {name: replace(seen[name], energy=seen[name].energy.detach()) for name in self._shares},
        )


def seed_of(seed: int, number: int) -> int:
    """For part ``number`` of a sum, so that no two parts look at the same random views; the first keeps the run's."""
    if number == 0:
        return seed
    return int.from_bytes(sha256(f"{seed} {number}".encode()).digest()[:7], "big")


def _found(seen: Observation) -> Tensor:
    return torch.ones_like(seen.similarity, dtype=torch.bool) if seen.found is None else seen.found
