"""Update rules: how the next trajectory follows from the gradients of this one.

Equation numbers are those of `solve`.  A new rule is a class here and a line in `RULES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
from torch import Tensor

from ..interfaces import EndVelocityFlow, Flow, PredictingFlow
from .batched import unit
from .descent import Descent

ANCHORED_SCALE = 30.0  # s for a latent of the published size at guidance scale 1: a good default, measured


@dataclass(frozen=True)
class Path:
    """What a trajectory of a flow follows from: z_(k+1) = F_k(z_k) + d_k, from z_0 on.

    z0: ``(B, ...)``; offsets: d_0 ... d_(K-1), each shaped like it.
    ends: z_1 ... z_K, where the rule says where the windows end, see `PinnedFlow`; the offsets are 0 then.
    """

    z0: Tensor
    offsets: list[Tensor]
    ends: list[Tensor] | None = None

    def along(self, flow: Flow) -> Flow:
        """The flow that the trajectory runs through."""
        return flow if self.ends is None else PinnedFlow(flow, self.ends)

    def pinned(self, ends: list[Tensor]) -> Path:
        """The path whose windows have these ends, z_1 ... z_K."""
        return Path(self.z0, [torch.zeros_like(end) for end in ends], ends)

    def to(self, device: torch.device | str) -> Path:
        ends = None if self.ends is None else [end.to(device) for end in self.ends]
        return Path(self.z0.to(device), [offset.to(device) for offset in self.offsets], ends)


class UpdateRule(ABC):
    """One update rule, for one run.

    weights: s w_k of each window, 0 where none is to be guided; scale: s; damping: a in (0, 1].

    clips: whether gradients are clipped to a norm of 1 unless the user says otherwise.
    gradient: the one of `GRADIENTS` that it takes unless the user says otherwise.
    settles: whether its residual is the distance to a fixed point, see `convergence.settled`.
    """

    name: ClassVar[str]
    clips: ClassVar[bool] = False
    gradient: ClassVar[str] = "windowed"
    settles: ClassVar[bool] = False

    @classmethod
    def scale_for(cls, scale: float, latent: Tensor) -> float:
        """s of a guidance scale that means the same for a latent of any size, ``(B, ...)``."""
        return scale * unit(latent) if cls.clips else scale

    def __init__(self, weights: list[float], scale: float, damping: float) -> None:
        self.weights = weights
        self.scale = scale
        self.damping = damping

    @classmethod
    def check(cls, flow: Flow, last_offset: bool) -> None:
        """Raises ValueError or TypeError where the rule cannot guide such a flow."""
        if len(flow) == 1 and not last_offset:
            raise ValueError("with one step the last offset is the only one; switch it on, or use more steps")


class TrajectoryRule(UpdateRule):
    """A rule that sees a whole trajectory before it moves it."""

    def to(self, device: torch.device | str) -> TrajectoryRule:
        """A copy, with what it remembers on that device."""
        return copy(self)

    @abstractmethod
    def update(self, flow: Flow, path: Path, states: list[Tensor], g: list[Tensor]) -> tuple[Path, list[Tensor]]:
        """The next path, and the update of each window, whose norm is the residual.

        states: z_0 ... z_K of the trajectory of ``flow`` along ``path``; g: g_0 ... g_K, clipped if so chosen.
        """

    def _steps(self, g: list[Tensor]) -> list[Tensor]:
        """-s w_k g_k."""
        return [-weight * gradient for weight, gradient in zip(self.weights, g, strict=False)]

    def _distance(self, path: Path, g: list[Tensor]) -> list[Tensor]:
        """G_k(d) - d_k, what is left to the paper's fixed point."""
        return [step - d for d, step in zip(path.offsets, self._steps(g), strict=True)]


class Anchored(TrajectoryRule):
    """(3), descent to the paper's fixed point, see `descent`."""

    name, settles, gradient = "anchored", True, "straight"

    @classmethod
    def scale_for(cls, scale: float, latent: Tensor) -> float:
        # |d|^2 grows with the numbers of a latent.  At 1, to move each by a tenth costs what a similarity of 0.03 does.
        return ANCHORED_SCALE * scale * unit(latent) ** 2

    def __init__(self, weights: list[float], scale: float, damping: float) -> None:
        super().__init__(weights, scale, damping)
        self._descend: Descent | None = None

    def to(self, device: torch.device | str) -> Anchored:
        moved = copy(self)
        moved._descend = None if self._descend is None else self._descend.to(device)
        return moved

    def update(self, flow, path, states, g):
        distance = torch.stack(self._distance(path, g), dim=1)
        if self._descend is None:
            self._descend = Descent(unit(path.z0))
        # h_k is -distance / (s w_k), and 0 for a window that is not guided
        weights = distance.new_tensor(self.weights).view(1, -1, *[1] * (distance.ndim - 2))
        h = torch.where(weights > 0, -distance / weights, 0)
        moved = self._descend(h)
        offsets = [d + step.to(d.dtype) for d, step in zip(path.offsets, moved.unbind(dim=1), strict=True)]
        return replace(path, offsets=offsets), list(distance.unbind(dim=1))


class Accumulated(TrajectoryRule):
    """(4), as in the published code."""

    name, clips = "accumulated", True

    def update(self, flow, path, states, g):
        update = self._steps(g)
        return replace(path, offsets=[d + step for d, step in zip(path.offsets, update, strict=True)]), update


class FixedPoint(TrajectoryRule):
    """(5), the paper's equation, damped."""

    name, settles = "fixed_point", True

    def update(self, flow, path, states, g):
        update = self._distance(path, g)
        return replace(path, offsets=[d + self.damping * f for d, f in zip(path.offsets, update, strict=True)]), update


class SinglePass(UpdateRule):
    """(6): it guides on the way, see `single_pass`."""

    name, clips, gradient = "single_pass", True, "straight"

    @classmethod
    def check(cls, flow: Flow, last_offset: bool) -> None:
        super().check(flow, last_offset)
        if not isinstance(flow, PredictingFlow):
            raise TypeError("this flow cannot foresee its end, as 'single_pass' needs; choose another update rule")


class FullyAnchored(TrajectoryRule):
    """(7), as published for 2-rectified flow."""

    name, clips = "fully_anchored", True

    @classmethod
    def check(cls, flow: Flow, last_offset: bool) -> None:
        super().check(flow, last_offset)
        if not last_offset:
            raise ValueError("'fully_anchored' changes the image by the last offset alone; switch it on")

    def update(self, flow, path, states, g):
        update = self._steps(g)
        return path.pinned([end + step for end, step in zip(states[1:], update, strict=True)]), update


class Noise(TrajectoryRule):
    """(8), descent on the noise."""

    name, clips = "noise", True

    @classmethod
    def check(cls, flow: Flow, last_offset: bool) -> None:
        pass

    def update(self, flow, path, states, g):
        update = -self.scale * g[0]
        return replace(path, z0=path.z0 + update), [update]


class Unanchored(TrajectoryRule):
    """(9), the vanilla fixed point."""

    name = "unanchored"

    @classmethod
    def check(cls, flow: Flow, last_offset: bool) -> None:
        super().check(flow, last_offset)
        if not isinstance(flow, EndVelocityFlow):
            raise TypeError(
                "this flow cannot be read at a window's end, as 'unanchored' needs; choose another update rule"
            )

    @torch.no_grad()
    def update(self, flow, path, states, g):
        ends, readable = [states[0]], cast(EndVelocityFlow, flow)  # `check` has seen to it
        for k, step in enumerate(self._steps(g)):
            ends.append(ends[k] + readable.end_displacement(k, states[k + 1]) + step)
        update = [end - state for end, state in zip(ends[1:], states[1:], strict=True)]
        return path.pinned(ends[1:]), update


class PinnedFlow:
    """A flow whose windows end where they are told to: nothing is computed but what a gradient needs."""

    def __init__(self, flow: Flow, ends: list[Tensor]) -> None:
        self.flow = flow
        self._ends = ends

    def __len__(self) -> int:
        return len(self.flow)

    def step(self, k: int, z: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self._ends[k]
        end = self.flow.step(k, z)
        return self._ends[k] + (end - end.detach())

    def weight(self, k: int) -> float:
        return self.flow.weight(k)


RULES: dict[str, type[UpdateRule]] = {
    rule.name: rule for rule in (Anchored, Accumulated, FixedPoint, SinglePass, FullyAnchored, Noise, Unanchored)
}
