"""The style of a picture, which is not who it shows."""

from __future__ import annotations

from dataclasses import dataclass

from ..discriminators.base import Discriminator
from ..identity.identity import Identity
from ..images.views import Views
from .identity import IdentityEnergy


@dataclass(frozen=True)
class StyleGuidance:
    """Draws an image to the style that ``reference`` holds, by 100 * (1 - cos) over the whole picture.

    Unlike `IdentityGuidance`, it leaves it to an identity beside it to say which picture is the best.
    """

    reference: Identity

    @property
    def discriminators(self) -> list[Discriminator]:
        return [self.reference.discriminator]

    def energy(self, views: int = 4, seed: int = 0) -> IdentityEnergy:
        return IdentityEnergy(self.reference, Views(views, seed) if views else None)
