"""The straight-flow gradient: the Jacobian of the flow taken as the identity, as it is for a flow that only shifts.

    g_k = g_K for all windows k

which costs a backward of the decoder and the energy, and none of the flow.  Where the Jacobian of each window is within
e of the identity, |g_k - (what it stands for)| <= ((1 + e)^(K - k) - 1) |g_K|.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .gradient import begin_chains, gather, observe, trajectory, unscale, without_graph
from .interfaces import Decoder, Energy, Flow


def straight(
    flow: Flow,
    decode: Decoder,
    energy: Energy,
    z0: Tensor,
    offsets: list[Tensor],
    number: int,
    loss_scale: float = 1.0,
):
    """As `gradient.windowed`, to which it is an approximation: no window runs under autograd."""
    with torch.no_grad():
        states = trajectory(flow, z0, offsets)
    return states, *at_end(decode, energy, states[-1], len(flow), number, loss_scale)


def at_end(decode: Decoder, energy: Energy, z: Tensor, windows: int, number: int, loss_scale: float = 1.0):
    """The image of the end state ``z``, what the energy saw of it, and g_0 ... g_K of so many windows, all the same.

    But for what the energies of a sum do not reach, see `gradient`.
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        image, seen = observe(decode, energy, z, number)
        chains = begin_chains(seen, windows, lambda first: [z], loss_scale)
    z, image, seen = z.detach(), image.detach(), without_graph(seen)
    for chain in chains:
        chain.gradients = chain.gradients * (windows - chain.first + 1)
    unscale(chains, loss_scale, number)
    return image, seen, gather(chains, seen, [z] * (windows + 1), image)
