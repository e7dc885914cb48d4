"""Whether a gradient came through: a network that runs without autograd cuts it, and nothing else would say so."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ..interfaces import CutGradientError, Observation

# Of the gradient behind it, in its greatest number.  A step of the kind z + (z - D) (t' - t) / t that ends at t' = 0
# hands on what comes through D and, beside it, a rounding error of float32.
_NOTHING = 4 * torch.finfo(torch.float32).eps


def check_networks(image: Tensor, observation: Observation) -> None:
    """Of a latent in a graph: its image, and the energy of that, each by scope, ``(B,)``, have to be in it.

    Raises CutGradientError, which names the decoder or the energy.
    """
    if not image.requires_grad:
        raise CutGradientError(
            "the decoder cuts the gradient: it decodes without autograd (torch.no_grad, torch.inference_mode or detach "
            "in it). Use another VAE, or take away what changes it"
        )
    energies = [observation.energy] if observation.by_scope is None else observation.by_scope.values()
    if not all(energy.requires_grad for energy in energies if energy is not None):
        raise CutGradientError(
            "the recogniser or another network of the guidance cuts the gradient: it looks at the picture without "
            "autograd (torch.no_grad, torch.inference_mode or detach in it). Use another one"
        )


def check_step(end: Tensor, k: int, windows: int) -> None:
    """Of window k's step from a state in a graph: its end has to be in it; CutGradientError names the step."""
    if not end.requires_grad:
        raise _cut_in_step(k, windows)


def check_chain(gradients: list[Tensor], windows: int) -> None:
    """Of one energy: its gradients g_k with respect to successive states, ``(B, ...)`` each, the end state's last.

    Raises CutGradientError for a state whose gradient is nothing beside the next one's: a step that ends at noise of 0
    hands on nothing but what comes through its model.
    """
    sizes = [float(gradient.abs().max()) for gradient in reversed(gradients)]
    for later_windows, (behind, size) in enumerate(itertools.pairwise(sizes)):
        if size <= _NOTHING * behind and behind > 0:
            raise _cut_in_step(windows - 1 - later_windows, windows)


def _cut_in_step(k: int, windows: int) -> CutGradientError:
    return CutGradientError(
        f"no gradient comes through step {k + 1} of {windows} of the flow: something in the model runs it without "
        "autograd (torch.no_grad, torch.inference_mode or detach). Take it away, or choose the gradient straight, "
        "which does not run through the model"
    )
