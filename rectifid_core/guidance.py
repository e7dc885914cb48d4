"""Guidance: what a picture shall become, as an energy for each run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .discriminator import Discriminator
from .energy import IdentityEnergy
from .identity import Identity
from .interfaces import Energy
from .views import Views


class Guidance(Protocol):
    """A recipe for energies: a run's energy may remember what it saw, so that each run needs its own.

    discriminators: what the energy runs, to be loaded before.
    """

    @property
    def discriminators(self) -> list[Discriminator]: ...

    def energy(self, views: int = 4, seed: int = 0) -> Energy:
        """An energy for one run; ``views=0`` looks at the plain image only, as published."""


@dataclass(frozen=True)
class IdentityGuidance:
    """Draws an image to an identity; `IdentityEnergy` explains ``detect_every`` and ``pixels``."""

    identity: Identity
    detect_every: int = 1
    pixels: float = 0.0

    @property
    def discriminators(self) -> list[Discriminator]:
        return [self.identity.discriminator]

    def energy(self, views: int = 4, seed: int = 0) -> IdentityEnergy:
        return IdentityEnergy(
            self.identity, Views(views, seed) if views else None, detect_every=self.detect_every, pixels=self.pixels
        )
