"""The trajectory, what is seen at its end, and the gradient of the energy with respect to each state.

`windowed` and `full` return the same: the states z_0 ... z_K, the image, what the energy saw of it, and the gradients
g_0 ... g_K, each shaped like its state; all detached, so that no graph outlives the call.  Parameters of the networks
get no gradient.

Where the energy is a sum of several E_e with a scope each, a mask m_e and some of the windows, it is

    g_k = sum over the e whose scope has window k of m_e * gradient of E_e(decode(z_K)) with respect to z_k

and g_K, of the end state, the same over the e whose scope has the last window.  Each distinct scope has a chain of
vector-Jacobian products of its own, from the end back to the first window of its scope; a mask acts on what a chain
gives to a window and not on the chain, which goes on unconfined.

Half precision has no numbers below 6e-8, and a gradient inside a network may be smaller: both run the backward on the
energy times ``loss_scale``, and divide by it at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..interfaces import Decoder, Energy, Flow, Observation
from ..scope import EVERYWHERE, GuidanceScope


class NonFiniteGradientError(FloatingPointError):
    """The gradient of the energy is nan or infinite."""


def trajectory(flow: Flow, z0: Tensor, offsets: list[Tensor]) -> list[Tensor]:
    """z_0 ... z_K with z_(k+1) = F_k(z_k) + d_k."""
    states = [z0]
    for k, offset in enumerate(offsets):
        states.append(flow.step(k, states[-1]) + offset)
    return states


def observe(decode: Decoder, energy: Energy, z: Tensor, number: int) -> tuple[Tensor, Observation]:
    """The image of the latent ``z``, and what the energy sees in it."""
    image = decode(z)
    return image, energy(image, number)


@dataclass
class Chain:
    """The gradients of the energies of one scope: g_k for k from the ``first`` window of its scope to the end, K."""

    scope: GuidanceScope
    first: int
    gradients: list[Tensor]


def windowed(
    flow: Flow,
    decode: Decoder,
    energy: Energy,
    z0: Tensor,
    offsets: list[Tensor],
    number: int,
    loss_scale: float = 1.0,
    kept: int = 0,
    apart: bool = False,
):
    """By the chain rule, the last window first: each is run again under autograd, with the memory of one.

    kept: so many windows, the last ones, are run under autograd at once, with the memory of all of them, and not again.
    apart: the decoder is run again for its backward, so that its graph is not in memory beside the energy's.
    """
    if apart:
        decode = checkpoint_decoder(decode)
    first_kept = len(flow) - kept
    with torch.no_grad():
        states = trajectory(flow, z0, offsets[:first_kept])
    with torch.enable_grad():
        states.append(states.pop().detach().requires_grad_())
        for k in range(first_kept, len(flow)):
            states.append(flow.step(k, states[k]) + offsets[k])
        image, seen = observe(decode, energy, states[-1], number)
        chains = begin_chains(seen, len(flow), lambda first: states[max(first, first_kept) :], loss_scale)
        states, image, seen = [z.detach() for z in states], image.detach(), without_graph(seen)
        for k in reversed(range(first_kept)):
            if reaching := [chain for chain in chains if chain.first <= k]:
                z = states[k].detach().requires_grad_()
                end, name = flow.step(k, z), f"step {k + 1} of the flow"
                for chain in reaching:
                    again = chain is not reaching[-1]
                    chain.gradients[:0] = _pull_back(end, [z], chain.gradients[0], name, again)
    unscale(chains, loss_scale, number)
    return states, image, seen, gather(chains, seen, states, image)


def checkpoint_decoder(decode: Decoder) -> Decoder:
    """``decode``, which keeps nothing but its input for its backward."""
    return partial(checkpoint, decode, use_reentrant=False)


def full(flow: Flow, *arguments, **settings):
    """In one graph: no recomputation, the memory of all windows."""
    return windowed(flow, *arguments, **settings, kept=len(flow))


def begin_chains(
    seen: Observation, windows: int, states: Callable[[int], list[Tensor]], loss_scale: float = 1.0
) -> list[Chain]:
    """A chain for each scope that acts now, times ``loss_scale``.

    states: by the first window that is reached, the states for which the gradients are to begin with, the end state
        last.
    """
    by_scope = _by_scope(seen)
    firsts = {scope: scope.windows_of(windows).start for scope in by_scope}  # of those that act later too: said early
    acting = {scope: energy for scope, energy in by_scope.items() if energy is not None}
    last = next(reversed(acting), None)
    chains = []
    for scope, energy in acting.items():
        cotangent = torch.full_like(energy, loss_scale, requires_grad=False)
        inputs = states(firsts[scope])
        gradients = _pull_back(energy, inputs, cotangent, "the decoder or the energy", again=scope is not last)
        chains.append(Chain(scope, firsts[scope], gradients))
    return chains


def gather(chains: list[Chain], seen: Observation, states: list[Tensor], image: Tensor) -> list[Tensor]:
    """g_0 ... g_K: of each chain what its scope lets through; 0 where there is none."""
    windows = len(states) - 1
    masks = {scope: scope.mask_on(states[-1], tuple(image.shape[-2:])) for scope in _by_scope(seen)}
    gathered = []
    for k, z in enumerate(states):
        parts = []
        for chain in chains:
            if min(k, windows - 1) in chain.scope.windows_of(windows):
                gradient, mask = chain.gradients[k - chain.first], masks[chain.scope]
                parts.append(gradient if mask is None else mask * gradient)
        gathered.append(sum(parts[1:], parts[0]) if parts else torch.zeros_like(z))
    return gathered


def without_graph(seen: Observation) -> Observation:
    if seen.by_scope is None:
        return replace(seen, energy=seen.energy.detach())
    by_scope = {scope: None if energy is None else energy.detach() for scope, energy in seen.by_scope.items()}
    return replace(seen, energy=seen.energy.detach(), by_scope=by_scope)


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


class LossScaling:
    """`windowed` or `full` with a loss scale that halves itself, for good, and tries again where a gradient overflows.

    Once it is 1, NonFiniteGradientError passes.
    """

    def __init__(self, differentiate: Callable, loss_scale: float) -> None:
        self._differentiate = differentiate
        self._loss_scale = loss_scale

    def __call__(self, *arguments):
        while self._loss_scale > 1:
            try:
                return self._differentiate(*arguments, self._loss_scale)
            except NonFiniteGradientError:
                self._loss_scale = max(self._loss_scale / 2, 1.0)
        return self._differentiate(*arguments)


def _by_scope(seen: Observation) -> Mapping[GuidanceScope, Tensor | None]:
    return {EVERYWHERE: seen.energy} if seen.by_scope is None else seen.by_scope


def _pull_back(output: Tensor, inputs: list[Tensor], cotangent: Tensor, name: str, again: bool) -> list[Tensor]:
    """The vector-Jacobian products of ``output`` and ``cotangent``, one for each input.

    again: whether ``output``, or another that shares a part of its graph, is yet to be pulled back.
    """
    if not output.requires_grad:
        raise RuntimeError(f"{name} cannot be differentiated: something in it cuts the gradient")
    return list(torch.autograd.grad(output, inputs, cotangent, retain_graph=again))
