"""What the solver yields, and what its residuals say of the convergence."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..interfaces import Observation
from .batched import norm

MEMORY = 10  # residuals that are averaged, where they are noisy


@dataclass(frozen=True)
class Iterate:
    """One trajectory of the solver and what was seen at its end; detached.

    number: 0 is the unguided reference.
    latent: ``(B, ...)``, z_K.
    image: ``(B, 3, H, W)`` in [0, 1].
    energy, similarity: ``(B,)``, as the energy observed them.
    residual: ``(B,)``, the norm over all windows of the update that follows; for the rules that settle of G(d) - d, the
        undamped one of `fixed_point`; for `unanchored` of the trajectory's change.  nan for the last iterate: nothing
        follows.
    slope: ``(B,)``, how steeply Phi of `descent` still falls, without the noise of views, over how it did at first; nan
        for rules that do not settle, and for the last iterate.
    contraction: ``(B,)``, this residual over the previous one: the rate at which the iteration converges, if below 1.
        nan for the first and the last iterate, and once the residual is exactly 0.
    diverging: ``(B,)`` bool, the residual is larger than the first that was not 0 and has grown three times in a row.
    found: ``(B,)`` bool, whether the energy found what it compares in this image.
    terms: by name, what each energy of a sum observed.
    predicted: the latent is where the flow would end if it went straight on, and not yet where it does (`single_pass`).
    """

    number: int
    latent: Tensor
    image: Tensor
    energy: Tensor
    similarity: Tensor
    residual: Tensor
    slope: Tensor
    contraction: Tensor
    diverging: Tensor
    found: Tensor
    terms: Mapping[str, Observation] = field(default_factory=dict)
    predicted: bool = False


class Residuals:
    """The residuals of a run so far, each ``(B,)``.

    weights: s w_k of each window, for the slope of a rule that settles; None: of another rule.

    Views make each gradient noisy, and the noise does not fall.  It is another one each time, so that the scalar
    product of two gradients h_i and h_j is, on average, that of what is behind them.  Once the norm falls no further,
    the slope is the root of the mean of all such products among the last `MEMORY`.
    """

    def __init__(self, weights: list[float] | None = None) -> None:
        self._each: list[Tensor] = []
        self.weights = weights
        self._slopes: deque[Tensor] = deque(maxlen=MEMORY)
        self._first_slope: Tensor | None = None  # of each sample, that is not 0

    def to(self, device: torch.device | str) -> Residuals:
        """A copy, on that device."""
        moved = Residuals(self.weights)
        moved._each = [each.to(device) for each in self._each]
        moved._slopes.extend(slope.to(device) for slope in self._slopes)
        moved._first_slope = None if self._first_slope is None else self._first_slope.to(device)
        return moved

    def append(self, update: list[Tensor]) -> None:
        """update: one tensor ``(B, ...)`` for each window, or as many as there are."""
        self._each.append(norm(torch.stack(update, dim=1)))
        if self.weights is not None:
            windows = [each / weight for each, weight in zip(update, self.weights, strict=True) if weight > 0]
            windows = windows or [torch.zeros_like(update[0])]  # at scale 0 it rests from the start
            self._slopes.append(torch.stack(windows, dim=1).flatten(1))
            now = norm(self._slopes[-1])
            self._first_slope = (
                now if self._first_slope is None else self._first_slope.where(self._first_slope > 0, now)
            )

    def _slope(self) -> Tensor:
        """Over the first; 0 where there never was one."""
        slopes = torch.stack(list(self._slopes))  # (N, B, ...)
        squares = norm(slopes.flatten(0, 1)).square().view(slopes.shape[:2])
        slope = squares[-1].sqrt()
        if len(slopes) == MEMORY:
            products = norm(slopes.sum(dim=0)).square() - squares.sum(dim=0)
            falling = squares[MEMORY // 2 :].mean(dim=0) < squares[: MEMORY // 2].mean(dim=0) / 2
            noiseless = (products.clamp(min=0) / (MEMORY * (MEMORY - 1))).sqrt()
            slope = torch.where(falling, slope, noiseless.minimum(slope))
        first = slope if self._first_slope is None else self._first_slope
        return (slope / first).nan_to_num(0.0)

    def iterate(
        self,
        number: int,
        latent: Tensor,
        image: Tensor,
        observation: Observation,
        *,
        followed: bool,
        predicted: bool = False,
    ) -> Iterate:
        """The iterate ``number``, whose residual is the last one here if an update follows it."""
        unknown = torch.full((len(latent),), torch.nan, device=latent.device)
        first = self._first() if self._each else unknown
        recent = [unknown] * 4 + self._each
        # Three in a row, and past the first: views make residuals noisy, and a saturated clip wavers by a rounding
        # error.
        growing = [recent[-i] > 1.001 * recent[-i - 1] for i in (1, 2, 3)]
        found = observation.found
        return Iterate(
            number,
            latent,
            image,
            observation.energy,
            observation.similarity,
            residual=recent[-1] if followed else unknown,
            slope=self._slope() if followed and self._slopes else unknown,
            contraction=recent[-1] / recent[-2] if followed else unknown,
            diverging=growing[0] & growing[1] & growing[2] & (recent[-1] > first),
            found=torch.ones_like(unknown, dtype=torch.bool) if found is None else found,
            terms=observation.terms,
            predicted=predicted,
        )

    def _first(self) -> Tensor:
        """Of each sample the first residual that is not 0: a guidance may begin to act later."""
        each = torch.stack(self._each)
        return each.gather(0, (each != 0).int().argmax(dim=0, keepdim=True))[0]
