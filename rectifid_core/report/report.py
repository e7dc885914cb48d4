"""What happened in a run, iterate by iterate, per sample."""

from __future__ import annotations

import math
import time
from copy import copy
from typing import Any

import numpy as np

from ..solver.best import Best
from ..solver.iterate import Iterate
from ..solver.state import RunState

MEASURES = ("energy", "similarity", "residual", "contraction", "diverging", "found")
TERM_MEASURES = ("energy", "similarity", "found")


class Report:
    """The measures of each iterate, appended as they come.

    settings: whatever the caller wants on record, JSON values by name.
    number: list of N iterate numbers; seconds: list of N, each since the one before (the first: since the start).
    predicted: list of N bools, see `Iterate`.
    energy, similarity, residual, contraction: lists of N lists of B floats, nan where unknown; diverging, found: of
        bools.
    terms: by name, for each energy of a sum, its energy, similarity and found, as above.
    pictures: what each iterate looked like, as the caller keeps it, see `filmstrip.small`; or none.
    settled: whether the run ended since it had come to rest.
    stuck: the samples that stayed unlike, see `convergence.stuck`; restarts: how often some began again for that.
    warnings: what went wrong on the way.
    state, best: where the run stands and the best of it, on the CPU, once it is over; a run can go on from there.
    """

    state: RunState | None = None
    best: Best | None = None

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.number: list[int] = []
        self.predicted: list[bool] = []
        self.seconds: list[float] = []
        self.energy: list[list[float]] = []
        self.similarity: list[list[float]] = []
        self.residual: list[list[float]] = []
        self.contraction: list[list[float]] = []
        self.diverging: list[list[bool]] = []
        self.found: list[list[bool]] = []
        self.terms: dict[str, dict[str, list[list]]] = {}
        self.pictures: list[np.ndarray] = []
        self.settled = False
        self.stuck: list[int] = []
        self.restarts = 0
        self.warnings: list[str] = []
        self._clock = time.perf_counter()

    def continued(self, settings: dict[str, Any]) -> Report:
        """The report of a run that goes on from `state`, which has this one's iterates, too."""
        assert self.state is not None
        report = Report(settings)
        vars(report).update({name: copy(value) for name, value in vars(self).items() if isinstance(value, list | dict)})
        report.settings, report.restarts = settings, self.restarts
        report._cut(self.state.number)
        return report

    def _cut(self, number: int) -> None:
        """Forgets the iterates from this number on."""
        count = sum(each < number for each in self.number)
        for measure in ("number", "predicted", "seconds", "pictures", *MEASURES):
            setattr(self, measure, getattr(self, measure)[:count])
        self.terms = {
            name: {measure: values[:count] for measure, values in term.items()} for name, term in self.terms.items()
        }

    def append(self, iterate: Iterate) -> None:
        """An iterate that was there already, of a run that begins again or goes on, takes the place of all since."""
        if self.number and iterate.number <= self.number[-1]:
            self._cut(iterate.number)
        for measure in MEASURES:
            getattr(self, measure).append(getattr(iterate, measure).tolist())
        for name, seen in iterate.terms.items():
            term = self.terms.setdefault(name, {measure: [] for measure in TERM_MEASURES})
            found = [True] * len(seen.energy) if seen.found is None else seen.found.tolist()
            for measure, values in zip(
                TERM_MEASURES, (seen.energy.tolist(), seen.similarity.tolist(), found), strict=True
            ):
                term[measure].append(values)
        now = time.perf_counter()  # after tolist, which waits for the device
        self.number.append(iterate.number)
        self.predicted.append(iterate.predicted)
        self.seconds.append(now - self._clock)
        self._clock = now

    def text(self) -> str:
        """A summary in a few lines, one for each sample."""
        if not self.number:
            return "nothing was drawn"
        count = f"{self.number[-1]} iterations"
        if self.settled:
            count = f"settled after {self.number[-1]} of {self.settings['iterations']} iterations,"
        if self.restarts:
            count += f" after {self.restarts} restart{'s' if self.restarts > 1 else ''} from another noise,"
        lines = [f"{count} in {sum(self.seconds):.1f} s"]
        for sample in range(len(self.similarity[0])):
            lines.append(f"sample {sample}: {self._line(sample)}")
            lines += [f"  {name}: {_term_line(term, sample)}" for name, term in self.terms.items()]
        return "\n".join(lines + self.warnings)

    def _line(self, sample: int) -> str:
        similarity = [row[sample] for row in self.similarity]
        found = [row[sample] for row in self.found]
        drawn = [i for i, each in enumerate(found) if each and not self.predicted[i]]
        if not drawn:
            return "nothing to compare was found in the picture; it is unguided"
        if all(map(math.isnan, similarity)):
            return "drawn without guidance"
        best = max(drawn, key=similarity.__getitem__)
        unguided = f"similarity {similarity[0]:.3f} unguided," if found[0] else "not found in the unguided, similarity"
        line = (
            f"{unguided} {similarity[best]:.3f} best (iteration {self.number[best]}), "
            f"{f'{similarity[-1]:.3f}' if found[-1] else 'not found in the'} last"
        )
        if not all(found):
            line += f"; lost sight of it in {found.count(False)} of {len(found)} pictures"
        if sample in self.stuck:
            line += "; stuck where it is not alike: try another seed, or candidates and restarts in Sampler Settings"
        if any(row[sample] for row in self.diverging):
            line += "; was diverging: lower the guidance scale (or the damping)"
        return line


def _term_line(term: dict[str, list[list]], sample: int) -> str:
    energy, similarity, found = ([row[sample] for row in term[measure]] for measure in TERM_MEASURES)
    if not any(found):
        return "never found in the picture"
    measure, values = ("energy", energy) if all(map(math.isnan, similarity)) else ("similarity", similarity)
    first = "" if math.isnan(values[0]) else f"{values[0]:.3f} first, "  # before it was ever found
    line = f"{measure} {first}{values[-1]:.3f} last"
    return line if all(found) else f"{line}; not found in {found.count(False)} of {len(found)} pictures"
