"""Gradient methods: ways to g_k, the gradient of the energy with respect to each state of a trajectory.

`WindowedGradient` is exact, whatever it keeps in memory.  `StraightGradient` takes the Jacobian of the flow as the
identity, as it is for a flow that only shifts:

    g_k = g_K for all windows k

which costs a backward of the decoder and the energy, and none of the flow.  Where the Jacobian of each window is within
e of the identity, its g_k is off by at most ((1 + e)^(K - k) - 1) |g_K|.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..interfaces import Decoder, Energy, Flow
from .chains import NonFiniteGradientError, begin_chains, gather, pull_back, unscale, without_graph
from .gradient_checks import check_chain, check_networks, check_step
from .trajectory import Trajectory, observe, run_flow


class Gradient(ABC):
    """A way to the gradients; parameters of the networks get none.

    Raises CutGradientError where no gradient comes through a network, of which it is the way.

    checkpoint_decoder: whether the decoder is run again for its backward, so that its graph is not in memory beside the
        energy's.
    """

    def __init__(self, checkpoint_decoder: bool = False) -> None:
        self.checkpoint_decoder = checkpoint_decoder

    @abstractmethod
    def __call__(
        self,
        flow: Flow,
        decode: Decoder,
        energy: Energy,
        z0: Tensor,
        offsets: list[Tensor],
        number: int,
        loss_scale: float = 1.0,
    ) -> Trajectory:
        """Of the trajectory from ``z0`` with the ``offsets``, as of the iterate ``number``."""

    def at_end(
        self, decode: Decoder, energy: Energy, z: Tensor, windows: int, number: int, loss_scale: float = 1.0
    ) -> Trajectory:
        """Of a latent ``z`` that is its own end: g_K for each of so many windows whose scope lets it through."""
        return energy_gradient(self._decoder(decode), energy, [z] * (windows + 1), number, loss_scale)

    def _decoder(self, decode: Decoder) -> Decoder:
        return partial(checkpoint, decode, use_reentrant=False) if self.checkpoint_decoder else decode


class WindowedGradient(Gradient):
    """Exact, by the chain rule, the last window first: each is run again under autograd, with the memory of one.

    graph_windows: so many windows, the last ones, are run under autograd at once, with the memory of all of them, and
        not again; None: all.
    """

    def __init__(self, graph_windows: int | None = 0, checkpoint_decoder: bool = False) -> None:
        super().__init__(checkpoint_decoder)
        self.graph_windows = graph_windows

    def __call__(self, flow, decode, energy, z0, offsets, number, loss_scale=1.0) -> Trajectory:
        decode, windows = self._decoder(decode), len(flow)
        first_graph = windows - (windows if self.graph_windows is None else self.graph_windows)
        with torch.no_grad():
            states = run_flow(flow, z0, offsets[:first_graph])
        with torch.enable_grad():
            states.append(states.pop().detach().requires_grad_())
            for k in range(first_graph, windows):
                end = flow.step(k, states[k])
                check_step(end, k, windows)
                states.append(end + offsets[k])
            image, observation = observe(decode, energy, states, number)
            check_networks(image, observation)
            chains = begin_chains(observation, windows, lambda first: states[max(first, first_graph) :], loss_scale)
            states, image, observation = [z.detach() for z in states], image.detach(), without_graph(observation)
            for k in reversed(range(first_graph)):
                if wanting := [chain for chain in chains if chain.first <= k]:
                    z = states[k].detach().requires_grad_()
                    end, name = flow.step(k, z), f"step {k + 1} of the flow"
                    check_step(end, k, windows)
                    for chain in wanting:
                        again = chain is not wanting[-1]
                        chain.gradients[:0] = pull_back(end, [z], chain.gradients[0], name, again)
        unscale(chains, loss_scale, number)
        for chain in chains:
            check_chain(chain.gradients, windows)
        return Trajectory(states, image, observation, gather(chains, observation, states, image))


class StraightGradient(Gradient):
    """An approximation for which no window runs under autograd."""

    def __call__(self, flow, decode, energy, z0, offsets, number, loss_scale=1.0) -> Trajectory:
        with torch.no_grad():
            states = run_flow(flow, z0, offsets)
        return energy_gradient(self._decoder(decode), energy, states, number, loss_scale)


def energy_gradient(
    decode: Decoder, energy: Energy, states: list[Tensor], number: int, loss_scale: float = 1.0
) -> Trajectory:
    """The gradient at the end of the ``states``, for each window whose scope lets it through."""
    windows = len(states) - 1
    with torch.enable_grad():
        end = states[-1].detach().requires_grad_()
        image, observation = observe(decode, energy, [*states[:-1], end], number)
        check_networks(image, observation)
        chains = begin_chains(observation, windows, lambda first: [end], loss_scale)
    image, observation = image.detach(), without_graph(observation)
    for chain in chains:
        chain.gradients = chain.gradients * (windows - chain.first + 1)
    unscale(chains, loss_scale, number)
    return Trajectory(states, image, observation, gather(chains, observation, states, image))


class LossScaling(Gradient):
    """Another gradient with a loss scale that halves itself, for good, and tries again where a gradient overflows.

    Once it is 1, NonFiniteGradientError passes.
    """

    def __init__(self, gradient: Gradient, loss_scale: float) -> None:
        super().__init__(gradient.checkpoint_decoder)
        self._gradient = gradient
        self._loss_scale = loss_scale

    def __call__(self, *arguments) -> Trajectory:
        return self._scaled(self._gradient, *arguments)

    def at_end(self, *arguments) -> Trajectory:
        return self._scaled(self._gradient.at_end, *arguments)

    def _scaled(self, method: Callable[..., Trajectory], *arguments) -> Trajectory:
        while self._loss_scale > 1:
            try:
                return method(*arguments, self._loss_scale)
            except NonFiniteGradientError:
                self._loss_scale = max(self._loss_scale / 2, 1.0)
        return method(*arguments)


windowed, full, straight = WindowedGradient(), WindowedGradient(graph_windows=None), StraightGradient()
GRADIENTS: dict[str, Gradient] = {"windowed": windowed, "full": full, "straight": straight}
