"""Descent to the anchored fixed point, for each sample its own.

The paper's fixed point d_k = -s w_k g_k is where

    (1)  h_k = g_k + d_k / (s w_k)

is zero for all windows.  For a straight flow, h is the gradient of a potential,

    (2)  Phi(d) = energy(decode(z_K(d))) + sum |d_k|^2 / (2 s w_k)

so that a descent along -h arrives where the iteration d <- -s w g is no contraction, too.  With c, the unit in which a
step means the same for a latent of any size (`batched.unit`), an iteration of a sample is

    (3)  u_k <- a h_k, shortened to the length c r where it is longer
    (4)  m <- b m + (1 - b) u,   m^ = m / (1 - b^n)
    (5)  d <- d - m^
    (6)  a, r <- 0.6 a, 0.6 r      where <u_n, u_(n-1)> < 0: it has turned back
         a <- 1.1 a                where it is above 0, and nothing was shortened
         r <- min(1.1 r, r_0)      where it is above 0

The radius r is what a trust region's is: far away, where h says where and not how far, all steps are c r long; near
by, the step size a finds the curvature.  Where (5) comes to rest, h is zero: that is proved by (3).  That it does come
to rest, and how soon, is measured: within 1e-5 after 41 to 73 iterations on a flow in closed form, for s L from 0.5 to
300.  On the embedded model, for 48 people, the judge's similarity is 0.87 after 3 iterations, 0.94 after 5, 0.97 after
10 and 0.976 after 20 (straight gradient), and the last picture is within 0.005 of the best.
"""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor

from .batched import dot, norm

MOMENTUM, SHORTER, LONGER = 0.5, 0.6, 1.1  # b, and the factors of (6)
RADIUS = 4.0  # r_0, and what a starts from in the unit c^2


class Descent:
    """(3) to (6), for one run; c: `batched.unit`."""

    def __init__(self, c: float) -> None:
        self._c = c
        self._number = 0
        self._before: Tensor | None = None

    def to(self, device: torch.device | str) -> Descent:
        """A copy, with what it remembers on that device."""
        moved = copy(self)
        if self._before is not None:
            moved._before, moved._momentum = self._before.to(device), self._momentum.to(device)
            moved._size, moved._radius = self._size.to(device), self._radius.to(device)
        return moved

    def __call__(self, h: Tensor) -> Tensor:
        """The change of the offsets, shaped as ``h``, ``(B, K, ...)``."""
        if self._before is None:
            self._size = h.new_full((len(h),), RADIUS * self._c**2)
            self._radius = h.new_full((len(h),), RADIUS * self._c)
            self._momentum = torch.zeros_like(h)
        length = torch.stack([norm(window) for window in h.unbind(dim=1)], dim=1) * self._size[:, None]
        share = (self._radius[:, None] / length).clamp(max=1)  # (3); nan for 0 / 0, which no number is multiplied by
        u = h * (self._size[:, None] * share.nan_to_num(1.0)).view(*h.shape[:2], *[1] * (h.ndim - 2))
        self._number += 1
        self._momentum = MOMENTUM * self._momentum + (1 - MOMENTUM) * u  # (4)
        if self._before is not None:  # (6)
            along = dot(u, self._before)  # 0 before a guidance begins to act
            whole = (share >= 1).all(dim=1)
            longer = torch.where(along > 0, LONGER, 1.0)
            self._size = self._size * torch.where(along < 0, SHORTER, torch.where(whole, longer, 1.0))
            self._radius = (self._radius * torch.where(along < 0, SHORTER, longer)).clamp(max=RADIUS * self._c)
        self._before = u
        return -self._momentum / (1 - MOMENTUM**self._number)  # (5)
