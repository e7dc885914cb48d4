"""Guidance on the way from noise to image, in one trajectory (FlowChef, ICCV 2025, arXiv 2412.00100).

A straight flow tells from the start of each window where it will end.  So the energy can be asked right there, for a
decode and a backward of the decoder and the energy, and the window be corrected before the trajectory goes on:

    (1)  z^_K(k) = z_k + v(z_k, t_k) (t_K - t_k)                                    the predicted end
    (2)  d_k <- d_k - s w_k clip(g^_k),  g^_k = gradient of energy(decode(z)) at z = z^_K(k) + d_k     n_k times
    (3)  z_(k+1) = F_k(z_k) + d_k

The Jacobian of the flow is taken as the identity; what a later window makes of the correction, it sees in its own
prediction, and corrects again.  The last window predicts nothing: (1) is its end there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..interfaces import Decoder, Energy, Observation, PredictingFlow
from .batched import clipped
from .gradient import Gradient
from .trajectory import observe, run_flow


class Step(NamedTuple):
    """After so many updates: the latent and what was observed, and the update to come.

    update: None at the end; predicted: whether the latent is a prediction.
    """

    latent: Tensor
    image: Tensor
    observation: Observation
    update: Tensor | None
    predicted: bool


def single_pass(
    flow: PredictingFlow,
    decode: Decoder,
    energy: Energy,
    z0: Tensor,
    weights: list[float],
    updates: int,
    differentiate: Gradient,
    *,
    clips: bool,
    last: bool,
) -> Iterator[Step]:
    """After 0, 1, ... ``updates`` updates, divided among the windows.

    weights: s w_k; last: whether the last window is guided.

    The first latent is that of the unguided flow, which is run for it without autograd; it is no prediction.
    """
    windows = len(weights)
    counts = divide(updates, windows, last=last)
    with torch.no_grad():
        states = run_flow(flow, z0, [torch.zeros_like(z0)] * windows)
        observed = states[-1], *observe(decode, energy, states, 0)
    predicted, number, z = False, 0, z0
    for k, count in enumerate(counts):
        at_end = k == windows - 1
        with torch.no_grad():
            window_end, end = flow.predict(k, z)  # (1)
        end = window_end if at_end else end
        offset = torch.zeros_like(z0)
        for _ in range(count):
            _, image, observation, g = differentiate.at_end(decode, energy, end + offset, windows, number)
            if number > 0:
                observed, predicted = (end + offset, image, observation), not at_end
            update = -weights[k] * (clipped(g[k]) if clips else g[k])  # (2)
            yield Step(*observed, update, predicted)
            offset = offset + update
            number += 1
        z = window_end + offset  # (3)
    with torch.no_grad():
        image, observation = observe(decode, energy, [z], number)
    yield Step(z, image, observation, None, False)


def divide(updates: int, windows: int, *, last: bool) -> list[int]:
    """n_k: so many updates for so many windows, evenly, the remainder to the first; none for the last if not so."""
    guided = windows if last else windows - 1
    return [len(range(k, updates, guided)) if k < guided else 0 for k in range(windows)]
