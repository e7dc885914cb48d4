"""The contract of a guidance."""

from __future__ import annotations

from typing import Protocol

from ..discriminators.base import Discriminator
from ..interfaces import Energy


class Guidance(Protocol):
    """A recipe for energies: a run's energy may remember what it saw, so that each run needs its own.

    discriminators: what the energy runs, to be loaded before.
    """

    @property
    def discriminators(self) -> list[Discriminator]: ...

    def energy(self, views: int = 4, seed: int = 0) -> Energy:
        """An energy for one run; ``views=0`` looks at the plain image only, as published."""
