"""When a fixed-point iteration has come to rest."""

from __future__ import annotations

from .batched import norm
from .iterate import Iterate

TOLERANCE = 0.001  # no eye sees a thousandth of a latent


def settled(iterate: Iterate, tolerance: float = TOLERANCE) -> bool:
    """Whether what is left to move is less than a share of the latent, in every sample: |G(d) - d| <= share * |z_K|.

    For the rules in `solver.SETTLING`, whose residual says it, whatever the damping: for a straight flow and an energy
    that is convex around there, the offsets are no further from the fixed point than the residual is long.  Views are
    drawn anew for each iterate, so that with them it may never come to rest.
    """
    return bool((iterate.residual <= tolerance * norm(iterate.latent)).all())
