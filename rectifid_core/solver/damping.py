"""A damping of the fixed-point iteration that finds itself, for each sample its own.

For d = G(d) with the residual f(d) = G(d) - d, the damped step is d + a f(d).  It converges where f falls with slopes
below 2 / a, and nobody knows them beforehand.  Two successive points show the one along the step between them, so that

    (1)  a_n = min(a, r_n, r_(n-1), ... r_(n-9))
    (2)  r_n = |s|^2 / (s . y),  s = d_n - d_(n-1),  y = f(d_(n-1)) - f(d_n)

infinite where s . y is not above 0.  (2) is the longer step length of Barzilai and Borwein, and costs nothing: the
residuals are there.  What can be said of it:

- Where f has no slope above 1 / a, it is the step damped by a, to the bit.  With a <= 1/2 that is wherever the paper's
  condition holds, that G be a contraction: the slopes of f are at most 2 then.
- Each r is one over a slope that was there, so that a_n never falls below min(a, 1 over the largest slope of f).
- Where a step overshoots and turns the residual into -c times itself, the next ten have at most 1 / (1 + c) of its
  damping: a residual that explodes ends the cause, and no evaluation is thrown away.
- Views make f noisy.  In (2) noise is seen along one direction of many, and hardly counts; |s| / |y| would take it for
  a slope, and a_n would fall for ever.
"""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from .batched import dot

MEMORY = 10  # steps, after which a slope is forgotten: the map is another one by then


class AdaptiveDamping:
    """a_n of (1), for one run.

    largest: a, in (0, 1], the first step's damping.
    """

    def __init__(self, largest: float) -> None:
        self._largest = largest
        self._rates: deque[Tensor] = deque(maxlen=MEMORY)
        self._before: tuple[Tensor, Tensor] | None = None

    def __call__(self, d: Tensor, f: Tensor) -> Tensor:
        """``(B,)``, at the point ``d`` with the residual ``f``, ``(B, ...)`` each."""
        if self._before is not None:
            step, fall = d - self._before[0], self._before[1] - f
            slope = dot(step, fall)
            self._rates.append(torch.where(slope > 0, dot(step, step) / slope, torch.inf))
        self._before = d, f
        a = torch.full((len(d),), self._largest, dtype=torch.promote_types(d.dtype, torch.float32), device=d.device)
        return torch.stack([a, *self._rates]).amin(dim=0)
