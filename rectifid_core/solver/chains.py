"""Chains of vector-Jacobian products: the gradient of a sum of energies whose terms have scopes of their own.

Where the energy is a sum of several E_e with a scope each, a mask m_e and some of the windows, the gradients are

    g_k = sum over the e whose scope has window k of m_e * gradient of E_e(decode(z_K)) with respect to z_k

and g_K, of the end state, the same over the e whose scope has the last window.  Each distinct scope has a chain of its
own, from the end back to the first of its windows; a mask acts on what a chain gives to a window and not on the chain,
which goes on unconfined.

Half precision has no numbers below 6e-8, and a gradient inside a network may be smaller: the backward may run on the
energy times ``loss_scale``, by which the gradients are divided at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..interfaces import CutGradientError, Observation
from ..scope import EVERYWHERE, GuidanceScope
from .trajectory import NonFiniteError


class NonFiniteGradientError(NonFiniteError):
    """The gradient of the energy is nan or infinite."""


@dataclass
class Chain:
    """The gradients of the energies of one scope: g_k for k from the ``first`` window of its scope to the end, K."""

    scope: GuidanceScope
    first: int
    gradients: list[Tensor]


def begin_chains(
    observation: Observation, windows: int, states: Callable[[int], list[Tensor]], loss_scale: float = 1.0
) -> list[Chain]:
    """A chain for each scope that acts now, times ``loss_scale``.

    states: by the first window of a scope, the states for which the gradients are to begin with, the end state
        last.
    """
    by_scope = _by_scope(observation)
    firsts = {scope: scope.windows_of(windows).start for scope in by_scope}  # of those that act later too: said early
    acting = {scope: energy for scope, energy in by_scope.items() if energy is not None}
    last = next(reversed(acting), None)
    chains = []
    for scope, energy in acting.items():
        cotangent = torch.full_like(energy, loss_scale, requires_grad=False)
        inputs = states(firsts[scope])
        gradients = pull_back(energy, inputs, cotangent, "the decoder or the energy", again=scope is not last)
        chains.append(Chain(scope, firsts[scope], gradients))
    return chains


def gather(chains: list[Chain], observation: Observation, states: list[Tensor], image: Tensor) -> list[Tensor]:
    """g_0 ... g_K: of each chain what its scope lets through; 0 where there is none."""
    windows = len(states) - 1
    height, width = image.shape[-2:]
    masks = {scope: scope.mask_on(states[-1], (height, width)) for scope in _by_scope(observation)}
    gathered = []
    for k, z in enumerate(states):
        terms = []
        for chain in chains:
            if min(k, windows - 1) in chain.scope.windows_of(windows):
                gradient, mask = chain.gradients[k - chain.first], masks[chain.scope]
                terms.append(gradient if mask is None else mask * gradient)
        gathered.append(sum(terms[1:], terms[0]) if terms else torch.zeros_like(z))
    return gathered


def without_graph(observation: Observation) -> Observation:
    """The observation with its energies detached."""
    if observation.by_scope is None:
        return replace(observation, energy=observation.energy.detach())
    by_scope = {scope: None if energy is None else energy.detach() for scope, energy in observation.by_scope.items()}
    return replace(observation, energy=observation.energy.detach(), by_scope=by_scope)


def unscale(chains: list[Chain], loss_scale: float, number: int) -> None:
    """Divides by the scale; NonFiniteGradientError where a gradient is not finite."""
    for chain in chains:
        windows = chain.first + len(chain.gradients) - 1
        for k in reversed(range(chain.first, windows + 1)):  # as the gradient runs: where was it lost first?
            if not chain.gradients[k - chain.first].isfinite().all():
                where = "the decoder or the energy" if k == windows else f"step {k + 1} of {windows} of the flow"
                raise NonFiniteGradientError(
                    f"iteration {number}: the gradient became nan or infinite in {where}; "
                    "use a smaller guidance scale, or run the models in float32 or bfloat16"
                )
        if loss_scale != 1:
            chain.gradients = [gradient / loss_scale for gradient in chain.gradients]


def _by_scope(observation: Observation) -> Mapping[GuidanceScope, Tensor | None]:
    return {EVERYWHERE: observation.energy} if observation.by_scope is None else observation.by_scope


def pull_back(output: Tensor, inputs: list[Tensor], cotangent: Tensor, name: str, again: bool) -> list[Tensor]:
    """The vector-Jacobian products of ``output`` and ``cotangent``, one for each input: 0 for one that is not used.

    again: whether ``output``, or another that shares a part of its graph, is yet to be pulled back.

    Raises CutGradientError, by ``name``, where the last input is not used: its graph is that of parameters.
    """
    gradients = torch.autograd.grad(output, inputs, cotangent, retain_graph=again, allow_unused=True)
    if gradients[-1] is None:
        raise CutGradientError(f"{name} cuts the gradient: it does not depend on what it is given. Use another one")
    return [torch.zeros_like(z) if each is None else each for z, each in zip(inputs, gradients, strict=True)]
