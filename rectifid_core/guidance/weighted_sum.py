"""Energies together: identities in one picture, and weighted sums of anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import torch
from torch import Tensor

from ..interfaces import Energy, Observation
from ..scope import EVERYWHERE, GuidanceScope
from .assignment import GroupTracker
from .base import check_gradient
from .identity import RegionEnergy

Observe = Callable[[Tensor, int], Mapping[str, Observation]]


class GroupEnergy:
    """What each identity of a group of one discriminator observes, by name, each at its own region; for one run."""

    def __init__(self, track: GroupTracker, compare: Mapping[str, RegionEnergy]) -> None:
        self._track = track
        self._compare = compare

    def __call__(self, image: Tensor, iteration: int) -> dict[str, Observation]:
        places = self._track(image, iteration)
        return {
            name: compare(image, iteration, regions, found)
            for (name, compare), (regions, found) in zip(self._compare.items(), places, strict=True)
        }


class NamedEnergy:
    """One energy under its name."""

    def __init__(self, name: str, energy: Energy) -> None:
        self._name = name
        self._energy = energy

    def __call__(self, image: Tensor, iteration: int) -> dict[str, Observation]:
        return {self._name: self._energy(image, iteration)}


@dataclass(frozen=True)
class Schedule:
    """How much an energy counts in a sum, >= 0, in which iterations, [start, end), and what it may change."""

    weight: float = 1.0
    start: int = 0
    end: float = math.inf
    scope: GuidanceScope = EVERYWHERE

    def acts_at(self, iteration: int) -> bool:
        return self.start <= iteration < self.end

    def within(self, outer: Schedule) -> Schedule:
        """This schedule in a sum that itself has the schedule ``outer``."""
        return Schedule(
            outer.weight * self.weight,
            max(outer.start, self.start),
            min(outer.end, self.end),
            outer.scope & self.scope,
        )


class WeightedSum:
    """The sum of energies, each times its weight in the iterations of its schedule; for one run.

    schedules: one for each name that the ``members`` observe, in the order of the reports.
    judged_by: the names whose similarity is the sum's: the mean over those that there are in the image.  Found is
        whether all of them are in sight that ever were, and at least one: who was never there is not waited for.
    """

    def __init__(self, members: Sequence[Observe], schedules: Mapping[str, Schedule], judged_by: Sequence[str]) -> None:
        self._members = list(members)
        self._schedules = dict(schedules)
        self._judges = list(judged_by)
        self._names: dict[GuidanceScope, list[str]] = {}
        for name, schedule in self._schedules.items():
            self._names.setdefault(schedule.scope, []).append(name)
        self._known: Tensor | bool = False  # (J, B), which judge was ever found in which image

    def __call__(self, image: Tensor, iteration: int) -> Observation:
        observed = {name: each for member in self._members for name, each in member(image, iteration).items()}
        by_scope: dict[GuidanceScope, Tensor | None] = {}
        for scope, names in self._names.items():
            acting = [name for name in names if self._schedules[name].acts_at(iteration)]
            for name in acting:
                check_gradient(image, observed[name].energy, name)
            energies = [self._schedules[name].weight * observed[name].energy for name in acting]
            by_scope[scope] = sum(energies[1:], energies[0]) if energies else None
        similarity = torch.stack([observed[name].similarity for name in self._judges])
        found = torch.stack([_found(observed[name]) for name in self._judges])
        self._known = found | self._known
        return Observation(
            sum((energy for energy in by_scope.values() if energy is not None), image.new_zeros(len(image))),
            similarity.nanmean(dim=0),
            self._known.any(dim=0) & (found | ~self._known).all(dim=0),
            {name: replace(observed[name], energy=observed[name].energy.detach()) for name in self._schedules},
            by_scope,
        )


def seed_of(seed: int, number: int) -> int:
    """For term ``number`` of a sum, so that no two terms look at the same random views; the first keeps the run's."""
    if number == 0:
        return seed
    return int.from_bytes(sha256(f"{seed} {number}".encode()).digest()[:7], "big")


def _found(observation: Observation) -> Tensor:
    if observation.found is None:
        return torch.ones_like(observation.similarity, dtype=torch.bool)
    return observation.found
