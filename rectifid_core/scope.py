"""The scope of a guidance: in which windows of the trajectory it acts, and where in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from .images.masks import check_shape


@dataclass(frozen=True, eq=False)
class GuidanceScope:
    """By itself: everything.  Two of the same windows and masks are equal.

    windows: from where to where on the way from noise to image, as fractions of the number of windows, 0 <= start <
        end <= 1; a window belongs to it if its middle does.
    masks: ``(h, w)`` each, in [0, 1], of the picture's shape at any size; their product says how much of the gradient
        counts where.

    Raises ValueError, with advice, for a scope of nothing.
    """

    windows: tuple[float, float] = (0.0, 1.0)
    masks: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        start, end = self.windows
        if not 0 <= start < end <= 1:
            raise ValueError(
                f"the guidance would act from {start:g} to {end:g} of the steps, which is never: the start must be "
                "below the end, and both from 0 to 1"
            )
        for mask in self.masks:
            if not (mask > 0).any():
                raise ValueError("the mask is empty: paint over what may change, or disconnect the mask")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GuidanceScope):
            return NotImplemented
        pairs = zip(self.masks, other.masks, strict=False)
        return (
            self.windows == other.windows
            and len(self.masks) == len(other.masks)
            and all(a is b or (a.shape == b.shape and bool((a == b).all())) for a, b in pairs)
        )

    def __hash__(self) -> int:
        return hash((self.windows, len(self.masks)))

    def __and__(self, other: GuidanceScope) -> GuidanceScope:
        """What is in both."""
        (a, b), (c, d) = self.windows, other.windows
        return GuidanceScope((max(a, c), min(b, d)), self.masks + other.masks)

    def windows_of(self, count: int) -> range:
        """Which of ``count`` windows; ValueError, with advice, for none."""
        start, end = self.windows
        inside = [k for k in range(count) if start <= (k + 0.5) / count < end]
        if not inside:
            raise ValueError(
                f"no step of {count} has its middle between {start:g} and {end:g} of the way from noise to picture, so "
                "that the guidance would never act: let it act for longer, or use more steps"
            )
        return range(inside[0], inside[-1] + 1)

    def mask_on(self, latent: Tensor, picture: tuple[int, int]) -> Tensor | None:
        """How much counts where on a latent ``(..., h, w)`` of a picture of that (height, width): ``(h, w)``.

        Averaged over what each place of the latent covers; None: all of it.  ValueError, with advice, for a mask
        of another shape, and for masks without a common place.
        """
        if not self.masks:
            return None
        product = latent.new_ones(latent.shape[-2:])
        for mask in self.masks:
            check_shape(mask, picture)
            on_latent = F.interpolate(mask.to(latent)[None, None], latent.shape[-2:], mode="area")
            product = product * on_latent[0, 0]
        if not product.any():
            raise ValueError("the masks that confine this guidance have no place in common: let them overlap")
        return product


EVERYWHERE = GuidanceScope()
