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

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..interfaces import Decoder, Energy, Observation, PredictingFlow
from .batched import clipped
from .gradient import observe, trajectory
from .straight import Arrived


def single_pass(
    flow: PredictingFlow,
    decode: Decoder,
    energy: Energy,
    z0: Tensor,
    weights: list[float],
    updates: list[int],
    differentiate: Callable,
    *,
    clips: bool,
) -> Iterator[tuple[Tensor, Tensor, Observation, Tensor | None, bool]]:
    """After 0, 1, ... sum(updates) updates: the latent, its image, what was seen, the update to come (None: it is the
    end), and whether the latent is a prediction.

    weights: s w_k; updates: n_k, of each window.
    differentiate: as `gradient.windowed`; asked for the gradient of the decoder and the energy alone.

    The first latent is that of the unguided flow, which is run for it without autograd; it is no prediction.
    """
    arrived, unmoved = Arrived(len(updates)), [torch.zeros_like(z0) for _ in updates]
    with torch.no_grad():
        z = trajectory(flow, z0, unmoved)[-1]
        seen_at = z, *observe(decode, energy, z, 0)
    predicted, number, z = False, 0, z0
    for k, count in enumerate(updates):
        last = k == len(updates) - 1
        with torch.no_grad():
            window_end, end = flow.predict(k, z)  # (1)
        end = window_end if last else end
        offset = torch.zeros_like(z0)
        for _ in range(count):
            _, image, seen, g = differentiate(arrived, decode, energy, end + offset, unmoved, number)
            if number > 0:
                seen_at, predicted = (end + offset, image, seen), not last
            update = -weights[k] * (clipped(g[k]) if clips else g[k])  # (2)
            yield *seen_at, update, predicted
            offset = offset + update
            number += 1
        z = window_end + offset  # (3)
    with torch.no_grad():
        image, seen = observe(decode, energy, z, number)
    yield z, image, seen, None, False


def share_out(updates: int, windows: int, *, last: bool) -> list[int]:
    """n_k: so many updates for so many windows, evenly, what is left over to the first; none for the last if not so."""
    guided = windows if last else windows - 1
    return [len(range(k, updates, guided)) if k < guided else 0 for k in range(windows)]
