"""The trajectory, what is seen at its end, and the gradient of the energy with respect to each state; in two ways.

`windowed` and `full` return the same: the states z_0 ... z_K, the image, what the energy saw of it, and the gradients
g_0 ... g_K, each shaped like its state; all detached, so that no graph outlives the call.  Parameters of the networks
get no gradient.

Half precision has no numbers below 6e-8, and a gradient inside a network may be smaller: both run the backward on the
energy times ``loss_scale``, and divide by it at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .interfaces import Decoder, Energy, Flow, Observation


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


def full(
    flow: Flow,
    decode: Decoder,
    energy: Energy,
    z0: Tensor,
    offsets: list[Tensor],
    number: int,
    loss_scale: float = 1.0,
):
    """In one graph: no recomputation, the memory of all windows."""
    with torch.enable_grad():
        states = trajectory(flow, z0.detach().requires_grad_(), offsets)
        image, seen = observe(decode, energy, states[-1], number)
        gradients = _pull_back(seen.energy, states, _ones(seen.energy, loss_scale), "the decoder or the energy")
    gradients = _unscaled(gradients, loss_scale, number)
    return [z.detach() for z in states], image.detach(), replace(seen, energy=seen.energy.detach()), gradients


def windowed(
    flow: Flow,
    decode: Decoder,
    energy: Energy,
    z0: Tensor,
    offsets: list[Tensor],
    number: int,
    loss_scale: float = 1.0,
):
    """By the chain rule, the last window first: each is run again under autograd, with the memory of one."""
    with torch.no_grad():
        states = trajectory(flow, z0, offsets)
    with torch.enable_grad():
        z = states[-1].detach().requires_grad_()
        image, seen = observe(decode, energy, z, number)
        gradients = _pull_back(seen.energy, [z], _ones(seen.energy, loss_scale), "the decoder or the energy")
        image, seen = image.detach(), replace(seen, energy=seen.energy.detach())
        for k in reversed(range(len(flow))):
            z = states[k].detach().requires_grad_()
            gradients = _pull_back(flow.step(k, z), [z], gradients[0], f"step {k + 1} of the flow") + gradients
    return states, image, seen, _unscaled(gradients, loss_scale, number)


class Scaled:
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


def _ones(energy: Tensor, loss_scale: float) -> Tensor:
    return torch.full_like(energy, loss_scale, requires_grad=False)


def _pull_back(output: Tensor, inputs: list[Tensor], cotangent: Tensor, name: str) -> list[Tensor]:
    """The vector-Jacobian products of ``output`` and ``cotangent``, one for each input."""
    if not output.requires_grad:
        raise RuntimeError(f"{name} cannot be differentiated: something in it cuts the gradient")
    return list(torch.autograd.grad(output, inputs, cotangent))


def _unscaled(gradients: list[Tensor], loss_scale: float, number: int) -> list[Tensor]:
    """The gradients without the scale; NonFiniteGradientError where one is not finite."""
    windows = len(gradients) - 1
    for k, gradient in reversed(list(enumerate(gradients))):  # as the gradient runs: where was it lost first?
        if not gradient.isfinite().all():
            where = "the decoder or the energy" if k == windows else f"step {k + 1} of {windows} of the flow"
            raise NonFiniteGradientError(
                f"iteration {number}: the gradient became nan or infinite in {where}; "
                "use a smaller guidance scale, or run the models in float32 or bfloat16"
            )
    return [gradient / loss_scale for gradient in gradients] if loss_scale != 1 else gradients
