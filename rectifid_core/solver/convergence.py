"""When a run has come to rest."""

from __future__ import annotations

from .iterate import Iterate

TOLERANCE = 0.005


def settled(iterate: Iterate, tolerance: float = TOLERANCE) -> bool:
    """Whether every sample is where `Iterate.slope` is at most the tolerance; for the rules that settle.

    Measured with the rule `anchored`, four views and 12 people: after 12 iterations
    or more, with as much likeness as after 50.
    """
    return bool((iterate.slope <= tolerance).all())
