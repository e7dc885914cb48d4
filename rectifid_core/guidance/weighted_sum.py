"""Several energies at once: identities in one picture, and sums of anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import torch
from torch import Tensor

from ..interfaces import Energy, Observation
from ..scope import EVERYWHERE, Reach
from .assignment import GroupTracker
from .identity import Comparison

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
    """How much an energy counts in a sum, >= 0, in which iterations, [start, end), and what it may change."""

    weight: float = 1.0
    start: int = 0
    end: float = math.inf
    reach: Reach = EVERYWHERE

    def acts_at(self, iteration: int) -> bool:
        return self.start <= iteration < self.end

    def within(self, outer: Share) -> Share:
        """This share in a sum that itself has the share ``outer``."""
        return Share(
            outer.weight * self.weight,
            max(outer.start, self.start),
            min(outer.end, self.end),
            outer.reach & self.reach,
        )


class WeightedSum:
    """The sum of energies, each times its weight in the iterations of its share; for one run.

    shares: one for each name that the ``members`` observe, and in the order in which the parts shall be reported.
    judges: the names whose similarity is the sum's: the mean over those that there are in the image.  Found is whether
        all of them are in sight that ever were, and at least one: who was never there is not waited for.
    """

    def __init__(self, members: Sequence[Observe], shares: Mapping[str, Share], judges: Sequence[str]) -> None:
        self._members = list(members)
        self._shares = dict(shares)
        self._judges = list(judges)
        self._names: dict[Reach, list[str]] = {}
        for name, share in self._shares.items():
            self._names.setdefault(share.reach, []).append(name)
        self._known: Tensor | bool = False  # (J, B), which judge was ever found in which image

    def __call__(self, image: Tensor, iteration: int) -> Observation:
        seen = {name: each for member in self._members for name, each in member(image, iteration).items()}
        by_reach: dict[Reach, Tensor | None] = {}
        for reach, names in self._names.items():
            acting = [name for name in names if self._shares[name].acts_at(iteration)]
            by_reach[reach] = sum(self._shares[name].weight * seen[name].energy for name in acting) if acting else None
        similarity = torch.stack([seen[name].similarity for name in self._judges])
        found = torch.stack([_found(seen[name]) for name in self._judges])
        self._known = found | self._known
        return Observation(
            sum((energy for energy in by_reach.values() if energy is not None), image.new_zeros(len(image))),
            similarity.nanmean(dim=0),
            seen[self._judges[0]].crop,
            self._known.any(dim=0) & (found | ~self._known).all(dim=0),
            {name: replace(seen[name], energy=seen[name].energy.detach()) for name in self._shares},
            by_reach,
        )


def seed_of(seed: int, number: int) -> int:
    """For part ``number`` of a sum, so that no two parts look at the same random views; the first keeps the run's."""
    if number == 0:
        return seed
    return int.from_bytes(sha256(f"{seed} {number}".encode()).digest()[:7], "big")


def _found(seen: Observation) -> Tensor:
    return torch.ones_like(seen.similarity, dtype=torch.bool) if seen.found is None else seen.found
