"""Guidance: what a picture shall become, as an energy for each run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..discriminators.base import Discriminator
from ..identity.identity import Identity
from ..scope import EVERYWHERE, Reach
from .assignment import GroupTracker
from .base import Guidance
from .identity import Comparison, IdentityGuidance, _views
from .weighted_sum import Alone, GroupEnergy, Observe, Share, WeightedSum, seed_of


def as_guidance(guidance: Identity | Guidance) -> Guidance:
    """An identity as guidance by it, without options; ValueError, in a user's words, for what is neither."""
    if isinstance(guidance, Identity):
        return IdentityGuidance(guidance)
    if not hasattr(guidance, "energy"):
        what = "nothing" if guidance is None else f"a {type(guidance).__name__}"
        raise ValueError(
            f"{what} arrives where an identity or guidance should: connect Encode Reference Identity or a guidance "
            "node, and look at switches and muted nodes on the way"
        )
    return guidance


@dataclass(frozen=True)
class CombinedGuidance:
    """Any number of guidances, by name, with their shares in the sum of the energies; from `combine`.

    Identities of one discriminator are different people: each gets a region of its own, see `GroupTracker`; the
    detector runs once for all of them, as often as the most demanding one wants.  Where there are identities, the
    similarity is theirs, else that of the first guidance.
    """

    parts: Mapping[str, tuple[Guidance, Share]]

    def starting_from(self, iteration: int) -> dict[str, int]:
        """Those that do not act before ``iteration``, and when they start."""
        return {name: share.start for name, (_, share) in self.parts.items() if share.start >= iteration}

    @property
    def discriminators(self) -> list[Discriminator]:
        each = [discriminator for guidance, _ in self.parts.values() for discriminator in guidance.discriminators]
        return list({id(discriminator): discriminator for discriminator in each}.values())

    def energy(self, views: int = 4, seed: int = 0) -> WeightedSum:
        seeds = {name: seed_of(seed, number) for number, name in enumerate(self.parts)}
        identities = {name: each for name, (each, _) in self.parts.items() if isinstance(each, IdentityGuidance)}
        groups: dict[str, dict[str, IdentityGuidance]] = {}
        for name, guidance in identities.items():
            if guidance.searches:
                groups.setdefault(guidance.identity.discriminator.digest, {})[name] = guidance
        several = [group for group in groups.values() if len(group) > 1]
        grouped = {name for group in several for name in group}
        members: list[Observe] = [
            Alone(name, guidance.energy(views, seeds[name]))
            for name, (guidance, _) in self.parts.items()
            if name not in grouped
        ]
        for group in several:
            track = GroupTracker(
                [each.identity for each in group.values()],
                [each.mask for each in group.values()],
                min(each.detect_every for each in group.values()),
            )
            compare = {
                name: Comparison(each.identity, _views(views, seeds[name]), each.pixels) for name, each in group.items()
            }
            members.append(GroupEnergy(track, compare))
        shares = {name: share for name, (_, share) in self.parts.items()}
        return WeightedSum(members, shares, list(identities) or list(self.parts)[:1])


def combine(parts: Mapping[str, tuple[Identity | Guidance, Share]]) -> CombinedGuidance:
    """One guidance of several, by name; a weight of 0 leaves one out, and what is a combination itself is resolved.

    Raises ValueError, in a user's words, where nothing is left, or for a share that cannot be.
    """
    if not parts:
        raise ValueError("nothing is connected: connect at least one identity or guidance")
    resolved: dict[str, tuple[Guidance, Share]] = {}
    for name, (guidance, share) in parts.items():
        if not 0 <= share.weight < math.inf:
            raise ValueError(f"the weight of {name} must be 0 or more, not {share.weight}")
        if share.start < 0:
            raise ValueError(f"{name} cannot start before iteration 0, at {share.start}")
        if share.weight == 0:
            continue
        if isinstance(guidance, CombinedGuidance):
            several = len(guidance.parts) > 1
            for inner, (each, its) in guidance.parts.items():
                resolved[f"{name}/{inner}" if several else name] = each, its.within(share)
        else:
            resolved[name] = as_guidance(guidance), share
    if not resolved:
        raise ValueError("all weights are 0, so there is nothing to guide: give at least one a weight above 0")
    for name, (_, share) in resolved.items():
        if not share.start < share.end:
            raise ValueError(
                f"{name} would act from iteration {share.start} to {share.end}, which is never: let it end after it "
                "starts"
            )
    return CombinedGuidance(resolved)


def limit(
    guidance: Identity | Guidance, start: int = 0, end: float = math.inf, reach: Reach = EVERYWHERE
) -> CombinedGuidance:
    """The guidance in iterations [start, end) only, and with that reach; of a combination, each part of it."""
    share = Share(1.0, start, end, reach)
    if isinstance(guidance, CombinedGuidance):
        return combine({name: (each, its.within(share)) for name, (each, its) in guidance.parts.items()})
    return combine({"guidance": (guidance, share)})
