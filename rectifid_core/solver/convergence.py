"""When a run has come to rest, and when it goes nowhere."""

from __future__ import annotations

from torch import Tensor

from .iterate import Iterate

TOLERANCE = 0.005
PATIENCE, RISE = 5, 0.1  # iterations, and the share of what is missing by which the similarity has risen by then
ALIKE = 0.5  # from this similarity on nothing is stuck, as little as it may rise


def settled(iterate: Iterate, tolerance: float = TOLERANCE) -> bool:
    """Whether every sample is where `Iterate.slope` is at most the tolerance; for the rules that settle.

    Measured with the rule `anchored`, four views and 12 people: after 12 iterations
    or more, with as much likeness as after 50.
    """
    return bool((iterate.slope <= tolerance).all())


def stuck(first: Iterate, now: Iterate) -> Tensor:
    """Which samples are hardly nearer to what guides them than the unguided picture was, ``(B,)`` bool.

    To be asked at the iterate `PATIENCE`.  A picture whose colours are far off can be drawn into a place from where the
    guidance does not lead out.
    """
    rises = now.similarity - first.similarity >= RISE * (1 - first.similarity)
    unlike = now.similarity < ALIKE  # not so for nan, which is the similarity of what has none
    return unlike & ~rises & first.found & now.found
