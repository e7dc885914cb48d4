"""Where to start: the noise whose unguided picture is nearest to what is asked for.

A flow that foresees its end shows after one evaluation about what its picture will be.  On the embedded model that
ranks noises as well as the finished pictures do, in a quarter of the evaluations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..interfaces import Decoder, Energy, Flow, PredictingFlow
from .iterate import Iterate, Residuals
from .trajectory import observe, run_flow


@torch.no_grad()
def foresee(flow: Flow, decode: Decoder, energy: Energy, z0: Tensor) -> Iterate:
    """The unguided end as the first window predicts it from ``z0``, ``(B, ...)``; its end of a flow that cannot."""
    if not (isinstance(flow, PredictingFlow) and len(flow) > 1):
        return draw(flow, decode, energy, z0)
    states = [z0, flow.predict(0, z0)[1]]
    return Residuals().iterate(0, states[-1], *observe(decode, energy, states, 0), followed=False, predicted=True)


@torch.no_grad()
def draw(flow: Flow, decode: Decoder, energy: Energy, z0: Tensor) -> Iterate:
    """The unguided end."""
    states = run_flow(flow, z0, [torch.zeros_like(z0)] * len(flow))
    return Residuals().iterate(0, states[-1], *observe(decode, energy, states, 0), followed=False)


def nearest(look: Callable[[int, bool], Iterate], count: int) -> Tensor:
    """For each sample, which of ``count`` starts promises the least energy: ``(B,)`` int.

    look: by the number of a start, and whether to go to the end: what `draw`, or else `foresee`, gives from there, with
        an energy of its own, since that may remember what it saw.

    A picture in which nothing is found comes last; where that is all of them, the first stays.  Where nothing is found
    in any prediction of a sample, the pictures are drawn to their end.
    """
    for to_end in (False, True):
        seen = [look(number, to_end) for number in range(count)]
        energies = torch.stack([each.energy.where(each.found, torch.inf) for each in seen])
        if not seen[0].predicted or energies.isfinite().any(dim=0).all():
            break
    return energies.argmin(dim=0)  # of equals, the first


def shuffled(noise: Tensor, seed: int, number: int) -> Tensor:
    """Another noise of the same numbers, ``(B, ...)``, for each sample the same whatever its batch; itself for 0."""
    if number == 0:
        return noise
    generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
    order = torch.randperm(noise[0].numel(), generator=generator).to(noise.device)
    return noise.flatten(1)[:, order].view_as(noise)
