"""Starting well: of several noises the one whose unguided image is nearest to what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .gradient import observe, trajectory
from .interfaces import Decoder, Energy, Flow
from .per_sample import spread


@torch.no_grad()
def best_noise(
    flow: Flow, decode: Decoder, new_energy: Callable[[], Energy], noises: Iterable[Tensor]
) -> tuple[Tensor, Tensor]:
    """The noise of least energy for each sample, ``(B, ...)``, and its place among the ``noises``, ``(B,)`` int.

    new_energy: an energy may remember what it saw, so that each noise gets one of its own.
    noises: ``(B, ...)`` each; one of them is held at a time.

    Each costs one trajectory, a decode and the energy, without autograd.  An image in which nothing is found comes
    last; where that is all of them, the first noise stays.  ValueError for no noises.
    """
    kept = number = least = None
    for place, noise in enumerate(noises):
        end = trajectory(flow, noise, [torch.zeros_like(noise) for _ in range(len(flow))])[-1]
        _, seen = observe(decode, new_energy(), end, 0)
        energy = seen.energy if seen.found is None else seen.energy.where(seen.found, torch.inf)
        if kept is None:
            kept, least, number = noise, energy, torch.zeros_like(energy, dtype=torch.long)
        else:
            better = energy < least
            kept = torch.where(spread(better, noise), noise, kept)
            least, number = energy.minimum(least), number.masked_fill(better, place)
    if kept is None:
        raise ValueError("there is no noise to choose from: draw at least one")
    return kept, number
