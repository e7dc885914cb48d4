"""Where a run stands, so that another one can go on from there."""

from __future__ import annotations

from copy import copy
from typing import cast

import torch
from torch import Tensor

from .iterate import Residuals
from .rules import Path, TrajectoryRule, UpdateRule


class RunState:
    """What `solve` keeps of a run; a new one is that of a run to come.

    number: of the iterate to come.  Once the run has begun, path: what that iterate follows from; rule, residuals: with
    what they remember of the iterates before it.
    """

    path: Path
    rule: TrajectoryRule
    residuals: Residuals

    def __init__(self) -> None:
        self.number = 0

    @property
    def begun(self) -> bool:
        return hasattr(self, "path")

    def begin(self, kind: type[UpdateRule], z0: Tensor, weights: list[float], scale: float, damping: float) -> None:
        """From the noise ``z0``, or go on with these numbers; the others are of `UpdateRule`.

        Raises ValueError for a state of a run by another rule, or of other latents or windows.
        """
        if self.begun:
            self._check(kind, z0, weights)
            self.rule.weights, self.rule.scale, self.rule.damping = weights, scale, damping
            self.residuals.weights = weights if kind.settles else None
        else:
            self.path = Path(z0, [torch.zeros_like(z0) for _ in weights])
            self.rule = cast(TrajectoryRule, kind(weights, scale, damping))  # what is none draws without iterations
            self.residuals = Residuals(weights if kind.settles else None)

    def _check(self, kind: type[UpdateRule], z0: Tensor, weights: list[float]) -> None:
        mine, its = (self.rule.name, self.path.z0.shape, len(self.path.offsets)), (kind.name, z0.shape, len(weights))
        for what, before, now in zip(("update rule", "shape of the latent", "number of steps"), mine, its, strict=True):
            if before != now:
                raise ValueError(
                    f"a run goes on only as it began: the {what} was {_said(before)} and is {_said(now)} now"
                )

    def to(self, device: torch.device | str) -> RunState:
        """A copy on that device; a run that goes on from it leaves this one as it is."""
        moved = copy(self)
        if self.begun:
            moved.path, moved.rule = self.path.to(device), self.rule.to(device)
            moved.residuals = self.residuals.to(device)
        return moved


def _said(value: object) -> object:
    return " x ".join(map(str, value)) if isinstance(value, torch.Size) else value
