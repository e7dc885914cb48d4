"""Guidances combined, each with its schedule, and limited."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..identity.identity import Recogniser
from ..images.views import views_or_none
from ..scope import EVERYWHERE, GuidanceScope
from .assignment import GroupTracker
from .base import Guidance, Network, check_guidance
from .identity import COLOR_ITERATIONS, IdentityGuidance, RegionEnergy
from .weighted_sum import GroupEnergy, NamedEnergy, Observe, Schedule, WeightedSum, seed_of


@dataclass(frozen=True)
class CombinedGuidance:
    """Any number of guidances, by name, with their schedules in the sum of the energies; from `combine`.

    Identities of one discriminator are different people: each gets a region of its own, see `GroupTracker`; the
    detector runs once for all of them, as often as the most demanding one wants.  Where there are identities, the
    similarity is theirs, else that of the first guidance.
    """

    terms: Mapping[str, tuple[Guidance, Schedule]]

    def starting_from(self, iteration: int) -> dict[str, int]:
        """Those that do not act before ``iteration``, and when they start."""
        return {name: schedule.start for name, (_, schedule) in self.terms.items() if schedule.start >= iteration}

    @property
    def changes(self) -> list[int]:
        """The iterations at which the energy becomes another one."""
        found: list[int] = []
        for guidance, schedule in self.terms.values():
            found += [schedule.start + change for change in [0, *getattr(guidance, "changes", [])]]
            found += [int(schedule.end)] if schedule.end < math.inf else []
        return found

    @property
    def networks(self) -> list[Network]:
        each = [network for guidance, _ in self.terms.values() for network in guidance.networks]
        return list({id(network): network for network in each}.values())

    def energy(self, views: int = 4, seed: int = 0) -> WeightedSum:
        seeds = {name: seed_of(seed, number) for number, name in enumerate(self.terms)}
        identities = {name: each for name, (each, _) in self.terms.items() if isinstance(each, IdentityGuidance)}
        groups: dict[Recogniser, dict[str, IdentityGuidance]] = {}
        for name, guidance in identities.items():
            if guidance.searches:
                groups.setdefault(guidance.identity.recogniser, {})[name] = guidance
        crowds = [group for group in groups.values() if len(group) > 1]
        grouped = {name for group in crowds for name in group}
        members: list[Observe] = [
            NamedEnergy(
                name,
                guidance.energy(views, seeds[name], schedule.start)
                if isinstance(guidance, IdentityGuidance)
                else guidance.energy(views, seeds[name]),
            )
            for name, (guidance, schedule) in self.terms.items()
            if name not in grouped
        ]
        for group in crowds:
            discriminator = next(iter(group.values())).discriminator
            track = GroupTracker(
                [each.identity for each in group.values()],
                discriminator,
                [each.mask for each in group.values()],
                min(each.detect_every for each in group.values()),
            )
            compare = {
                name: RegionEnergy(
                    each.identity,
                    discriminator,
                    views_or_none(views, seeds[name]),
                    each.pixels,
                    self.terms[name][1].start + COLOR_ITERATIONS if each.color_first else 0,
                )
                for name, each in group.items()
            }
            members.append(GroupEnergy(track, compare))
        schedules = {name: schedule for name, (_, schedule) in self.terms.items()}
        return WeightedSum(members, schedules, list(identities) or list(self.terms)[:1])


def combine(terms: Mapping[str, tuple[Guidance, Schedule]]) -> CombinedGuidance:
    """One guidance of those given, by name; a weight of 0 leaves one out, and what is a combination itself is resolved.

    Raises ValueError, with advice, where nothing is left, or for a schedule that cannot be.
    """
    if not terms:
        raise ValueError("nothing is connected: connect at least one identity or guidance")
    resolved: dict[str, tuple[Guidance, Schedule]] = {}
    for name, (guidance, schedule) in terms.items():
        if not 0 <= schedule.weight < math.inf:
            raise ValueError(f"the weight of {name} must be 0 or more, not {schedule.weight}")
        if schedule.start < 0:
            raise ValueError(f"{name} cannot start before iteration 0, at {schedule.start}")
        if schedule.weight == 0:
            continue
        if isinstance(guidance, CombinedGuidance):
            for inner, (each, its) in guidance.terms.items():
                resolved[f"{name}/{inner}" if len(guidance.terms) > 1 else name] = each, its.within(schedule)
        else:
            resolved[name] = check_guidance(guidance), schedule
    if not resolved:
        raise ValueError("all weights are 0, so there is nothing to guide: give at least one a weight above 0")
    for name, (_, schedule) in resolved.items():
        if not schedule.start < schedule.end:
            raise ValueError(
                f"{name} would act from iteration {schedule.start} to {schedule.end}, which is never: let it end after "
                "it starts"
            )
    return CombinedGuidance(resolved)


def limit(
    guidance: Guidance, start: int = 0, end: float = math.inf, scope: GuidanceScope = EVERYWHERE
) -> CombinedGuidance:
    """The guidance in iterations [start, end) only, and with that scope; of a combination, each of its terms."""
    schedule = Schedule(1.0, start, end, scope)
    if isinstance(guidance, CombinedGuidance):
        return combine({name: (each, its.within(schedule)) for name, (each, its) in guidance.terms.items()})
    return combine({"guidance": (guidance, schedule)})
