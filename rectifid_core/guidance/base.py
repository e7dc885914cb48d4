"""The contract of a guidance."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..discriminators.base import Discriminator
from ..discriminators.segmenter import Segmenter
from ..interfaces import CutGradientError, Energy, Observation

Network = Discriminator | Segmenter


class Guidance(Protocol):
    """A recipe for energies: a run's energy may remember what it saw, so that each run needs its own.

    networks: what the energy runs, to be loaded before.
    """

    @property
    def networks(self) -> list[Network]: ...

    def energy(self, views: int = 4, seed: int = 0) -> Energy:
        """An energy for one run; ``views=0`` looks at the plain image only, as published."""
        ...


class NoGuidance:
    """Leaves every picture as the flow draws it."""

    @property
    def networks(self) -> list[Network]:
        return []

    def energy(self, views: int = 4, seed: int = 0) -> Energy:
        return _nothing


def _nothing(image: Tensor, iteration: int) -> Observation:
    """The energy 0, with its graph; there is nothing to compare with."""
    energy = (image * 0).flatten(1).sum(dim=1)
    return Observation(energy, torch.full_like(energy, torch.nan, requires_grad=False))


def check_gradient(image: Tensor, made: Tensor, name: str) -> None:
    """Of what ``name`` made of an image in a graph: CutGradientError where it is not in the graph itself.

    To be asked before it is added to something that is: in the sum nothing would show that it does nothing.
    """
    if image.requires_grad and torch.is_grad_enabled() and not made.requires_grad:
        raise CutGradientError(
            f"{name} cuts the gradient: it looks at the picture without autograd (torch.no_grad, torch.inference_mode "
            "or detach in it). Use another one"
        )


def check_guidance(guidance: Guidance) -> Guidance:
    """The guidance itself; ValueError, with advice, for what is none."""
    if not (hasattr(guidance, "energy") and hasattr(guidance, "networks")):
        what = "nothing" if guidance is None else f"a {type(guidance).__name__}"
        raise ValueError(
            f"{what} arrives where an identity or guidance should: connect Encode Reference Identity or a guidance "
            "node, and look at switches and muted nodes on the way"
        )
    return guidance
