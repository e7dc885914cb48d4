"""The straight-flow gradient: the Jacobian of the flow taken as the identity, as it is for a flow that only shifts.

    g_k = g_K for all windows k

which costs a backward of the decoder and the energy, and none of the flow.  Where the Jacobian of each window is within
e of the identity, |g_k - (what it stands for)| <= ((1 + e)^(K - k) - 1) |g_K|.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..interfaces import Decoder, Energy, Flow
from .gradient import begin_chains, checkpoint_decoder, gather, observe, trajectory, unscale, without_graph


def straight(
    flow: Flow,
    decode: Decoder,
    energy: Energy,
    z0: Tensor,
    offsets: list[Tensor],
    number: int,
    loss_scale: float = 1.0,
    apart: bool = False,
):
    """As `gradient.windowed`, to which it is an approximation: no window runs under autograd."""
    if apart:
        decode = checkpoint_decoder(decode)
    with torch.no_grad():
        states = trajectory(flow, z0, offsets)
    with torch.enable_grad():
        end = states[-1].detach().requires_grad_()
        image, seen = observe(decode, energy, end, number)
        chains = begin_chains(seen, len(flow), lambda first: [end], loss_scale)
    image, seen = image.detach(), without_graph(seen)
    for chain in chains:
        chain.gradients = chain.gradients * (len(flow) - chain.first + 1)
    unscale(chains, loss_scale, number)
    return states, image, seen, gather(chains, seen, states, image)


class Arrived:
    """A flow that is at its end already, before so many windows that change nothing.

    Of it every way to the gradient, be it an approximation or not, gives the same: that of the decoder and the energy.
    """

    def __init__(self, windows: int) -> None:
        self._windows = windows

    def __len__(self) -> int:
        return self._windows

    def step(self, k: int, z: Tensor) -> Tensor:
        return z

    def weight(self, k: int) -> float:
        return 1.0
