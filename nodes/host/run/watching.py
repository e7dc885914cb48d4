"""Who watches a run, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from ....rectifid_core.solver.best import Best
from ....rectifid_core.solver.convergence import PATIENCE, stuck
from ....rectifid_core.solver.iterate import Iterate
from ....rectifid_core.solver.state import RunState

KEEP = ("best", "last")


class Observer(Protocol):
    """Who watches a run; it may raise, which ends the run, too."""

    def on_start(self, facts: dict[str, Any]) -> None:
        """facts: what is known now, by name: model, family, seed, steps, gradient."""

    def on_iterate(self, iterate: Iterate, kept: Best | Iterate) -> bool:
        """Whether to stop here; ``kept`` is what the run would return by now."""
        ...

    def on_stuck(self, samples: list[int], again: bool) -> None:
        """These stay unlike, see `convergence.stuck`; again: they begin again from another noise."""

    def on_warning(self, message: str) -> None:
        """The run ends early, with what it has."""

    def on_end(self, state: RunState, best: Best) -> None:
        """Where the run stands now, on the CPU; for `GuidedSampler`'s ``earlier``."""


class StuckError(Exception):
    """samples: which are stuck, ``(B,)`` bool."""

    def __init__(self, samples: Tensor) -> None:
        super().__init__("some samples are stuck")
        self.samples = samples


def watched(
    iterates: Iterator[Iterate], observer: Observer, best: Best, keep: str, *, waits: bool, restarts: bool
) -> Best | Iterate:
    """What is kept of the iterates; a network that gives nan later on does not cost what there is by then.

    best: of the run so far, which is kept up to date; keep: one of `KEEP`.
    waits: a guidance is still to begin, so that none of the samples is called stuck.
    restarts: raise StuckError for those that are.
    """
    kept, similarity = None, []
    try:
        for iterate in iterates:
            best.update(iterate)
            kept = best if keep == "best" else iterate
            similarity.append(iterate.similarity.where(iterate.found, torch.nan))
            if len(similarity) == PATIENCE + 1 == iterate.number + 1 and not (waits or iterate.predicted):
                samples = stuck(similarity)
                if samples.any():
                    observer.on_stuck(samples.nonzero().flatten().tolist(), restarts)
                    if restarts:
                        raise StuckError(samples)
            if observer.on_iterate(iterate, kept):
                break
    except FloatingPointError as error:
        if kept is not best:
            raise
        observer.on_warning(f"{error}. The best picture before that is returned.")
    assert kept is not None, "a run has at least one iterate"
    return kept
