"""A guided run as its user sees it, and when it ends."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from ....rectifid_core.guidance.base import Guidance
from ....rectifid_core.guidance.combination import CombinedGuidance
from ....rectifid_core.report.filmstrip import small
from ....rectifid_core.report.report import Report
from ....rectifid_core.solver.best import Best
from ....rectifid_core.solver.convergence import PATIENCE, settled
from ....rectifid_core.solver.iterate import Iterate
from ....rectifid_core.solver.state import RunState
from .progress import Progress
from .versions import versions

IF_MISSING = ("error", "unguided")


class RunMonitor:
    """Observer of one run: bar, picture and text on the node that is executed, the warnings, and the report.

    settings: the widgets' values, by name, for the report; iterations, stop_at_similarity and if_missing are heeded.
    report: grows with each iterate.
    image: what the run would return by now, ``(B, 3, H, W)`` in [0, 1].
    earlier: the report of a run that this one goes on from, for so many iterations more.

    Raises ValueError for a guidance that would start after the last iteration.
    """

    image: Tensor

    def __init__(self, guidance: Guidance, settings: dict[str, Any], earlier: Report | None = None):
        self._guidance = guidance
        self._discriminators = guidance.networks
        self._first = 0 if earlier is None or earlier.state is None else earlier.state.number
        iterations = self._first + settings["iterations"]
        self._settings = settings = {**settings, "iterations": iterations}
        facts = {"discriminators": {each.name: each.digest for each in self._discriminators}, **settings, **versions()}
        self.report = Report(facts) if earlier is None else earlier.continued(facts)
        if isinstance(guidance, CombinedGuidance) and iterations > 0 and (late := guidance.starting_from(iterations)):
            message = "; ".join(_too_late(name, start, iterations) for name, start in late.items())
            if len(late) == len(guidance.terms):
                raise ValueError(message)
            logging.warning("RectifID: %s", message)

    def on_start(self, facts: dict[str, Any]) -> None:
        self.report.settings.update(facts)
        self._progress = Progress(self._settings["iterations"] - self._first + 1, self._settings["preview"])

    def shown(self) -> dict[str, Any]:
        """What the node shows of the run when it is over, see `Live.data`."""
        return self._progress.shown

    def text(self) -> str:
        return f"family: {self.report.settings['family']}\n{self.report.text()}"

    def on_iterate(self, iterate: Iterate, kept: Best | Iterate) -> bool:
        self.report.append(iterate)
        self.report.pictures.append(small(iterate.image))
        self.image = kept.image
        last = iterate.number == self._settings["iterations"]
        name = f"iteration {iterate.number} of {self._settings['iterations']}"
        self._progress.show(iterate, iterate.number - self._first, name, picture=self.image if last else iterate.image)
        enough = self._settings["stop_at_similarity"]
        ends = (
            last
            or (iterate.number == 0 and self._nothing_to_guide(iterate))
            or (enough < 1 and not iterate.predicted and bool((kept.found & (kept.similarity >= enough)).all()))
            or (not iterate.predicted and self._progress.stopped())
        )
        if not ends and self._at_rest(iterate):
            ends = self.report.settled = True
        if ends:
            self._finish()
        return ends

    def on_stuck(self, samples: list[int], again: bool) -> None:
        logging.warning("RectifID: after %d iterations %s stuck where it is not alike", PATIENCE, _pictures(samples))
        if again:
            self.report.restarts += 1
        else:
            self.report.stuck = samples

    def on_end(self, state: RunState, best: Best) -> None:
        self.report.state, self.report.best = state, best

    def on_warning(self, message: str) -> None:
        logging.warning("RectifID: %s", message)
        self.report.warnings.append(message)
        self._finish()

    def _finish(self) -> None:
        """Leaves on the node what the run returns, which need not be the last iterate."""
        logging.info("RectifID %s", self.text())
        self._progress.finish(self.image, self.text())

    def _at_rest(self, iterate: Iterate) -> bool:
        """Whether a fixed point is reached, and the energy is to stay what it is."""
        changes = getattr(self._guidance, "changes", [])
        waits = any(iterate.number < change < self._settings["iterations"] for change in changes)
        return not waits and settled(iterate)

    def _nothing_to_guide(self, unguided: Iterate) -> bool:
        """Whether what is to be guided is in none of the pictures; ValueError if that is to be an error."""
        if not unguided.found.all():
            noun = " or ".join(sorted({each.noun for each in self._discriminators if hasattr(each, "locate")}))
            missing = _missing(unguided.found, noun)
            if self._settings["if_missing"] == "error":
                raise ValueError(missing)
            logging.warning("RectifID: %s", missing)
        for name, part in unguided.terms.items():
            if part.found is not None and not part.found.all():
                logging.warning("RectifID: %s", _without(part.found, name))
        return not unguided.found.any()


def _too_late(name: str, start: int, iterations: int) -> str:
    """What to tell a user whose guidance is limited to iterations that never come."""
    return (
        f"{name} starts at iteration {start}, and the run has {iterations}, from 0 to {iterations - 1}, so that it "
        "never acts: let it start earlier, or give the run more iterations"
    )


def _without(found: Tensor, name: str) -> str:
    """What to tell a user where one of several is missing; found: ``(B,)`` bool."""
    return (
        f"What {name} is to guide is not in {_which(found)}; the others are guided without it. Ask in the prompt for "
        "as many people or things as there are identities. With a mask, it counts only where the mask is."
    )


def _pictures(samples: list[int]) -> str:
    return (
        f"pictures {', '.join(map(str, samples))} of the batch are" if len(samples) > 1 else f"picture {samples[0]} is"
    )


def _which(found: Tensor) -> str:
    """The pictures in which it was not found."""
    missing = [str(i) for i, each in enumerate(found.tolist()) if not each]
    return "the unguided picture" if len(found) == 1 else f"the unguided pictures {', '.join(missing)} of the batch"


def _missing(found: Tensor, noun: str) -> str:
    """What to tell a user whose unguided pictures lack what is to be guided; found: ``(B,)`` bool."""
    return (
        f"There is no {noun} in {_which(found)}, so there is nothing to guide. Ask for one in the prompt ('close-up "
        f"portrait photo of a person', not 'a crowd'), try another seed or a larger picture, or lower the {noun} "
        "detection threshold of the discriminator. With a mask, it counts only where the mask is. To get the unguided "
        "picture instead of this error, set if_missing to unguided."
    )
