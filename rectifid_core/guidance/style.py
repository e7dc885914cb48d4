"""The style of a picture, which is not who it shows."""

from __future__ import annotations

from dataclasses import dataclass

from ..discriminators.base import Discriminator
from ..identity.identity import Identity
from ..images.views import views_or_none
from .base import Network
from .identity import IdentityEnergy


@dataclass(frozen=True)
class StyleGuidance:
    """Draws an image to the style that ``reference`` holds, by 100 * (1 - cos) over the whole picture.

    Unlike `IdentityGuidance`, it leaves it to an identity beside it to say which picture is the best.
    """

    reference: Identity
    discriminator: Discriminator

    @property
    def networks(self) -> list[Network]:
        return [self.discriminator]

    def energy(self, views: int = 4, seed: int = 0) -> IdentityEnergy:
        return IdentityEnergy(self.reference, self.discriminator, views_or_none(views, seed))
