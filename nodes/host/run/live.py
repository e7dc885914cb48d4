"""A run as the front end draws it on its node, see `web/run.js`: curves of similarity, and how far it is."""

from __future__ import annotations

import math
import time
from statistics import median
from typing import Any

from torch import Tensor

from ....rectifid_core.solver.iterate import Iterate

EVENT = "rectifid.run"
_RECENT = 5  # iterates whose time foretells that of the next
_SPELLED = 2  # curves whose values are all written out


class Live:
    """The curves of a run of so many steps, one for each person or guidance and each picture of the batch."""

    def __init__(self, steps: int):
        self._last = steps - 1
        self._curves: dict[str, list[float | None]] = {}
        self._seconds: list[float] = []
        self._clock = time.perf_counter()

    def add(self, iterate: Iterate) -> None:
        seen = {name: (part.similarity, part.found) for name, part in iterate.terms.items()}
        for name, (similarity, found) in (seen or {"": (iterate.similarity, iterate.found)}).items():
            for picture, value in enumerate(_values(similarity, found)):
                label = f"{name} {picture + 1}".strip() if len(similarity) > 1 else name
                self._curves.setdefault(label, []).append(value)
        now = time.perf_counter()
        self._seconds.append(now - self._clock)
        self._clock = now

    def data(self, line: str, running: bool) -> dict[str, Any]:
        """What `EVENT` and a node's `ui` carry; line: the same in full, for who has no front end.

        curves: name -> similarities, None where nothing was found; status: a short line; running: whether it goes on.
        """
        return {"line": line, "status": self._status(running), "curves": self._curves, "running": running}

    def _status(self, running: bool) -> str:
        curves = [known for curve in self._curves.values() if (known := [x for x in curve if x is not None])]
        words = (
            [f"{_range([max(each) for each in curves])} (was {_range([each[0] for each in curves])})"] if curves else []
        )
        done = len(self._seconds) - 1
        if running and done >= 0:
            left = (self._last - done) * median(self._seconds[-_RECENT:])
            words += [f"{done} of {self._last}", f"about {left:.0f} s left"]
        elif not running:
            words += [f"{max(done, 0)} iterations", f"{sum(self._seconds):.0f} s"]
        return ", ".join(words)


def _values(similarity: Tensor, found: Tensor | None) -> list[float | None]:
    seen = [True] * len(similarity) if found is None else found.tolist()
    return [
        round(value, 4) if there and math.isfinite(value) else None
        for value, there in zip(similarity.tolist(), seen, strict=True)
    ]


def _range(values: list[float]) -> str:
    """Each value if they are few, else the least and the greatest."""
    if len(values) <= _SPELLED:
        return " and ".join(f"{each:.3f}" for each in values)
    return f"{min(values):.3f} to {max(values):.3f}"
