"""The trajectory, what is seen at its end, and the gradient of the energy with respect to each state; in two ways.

`windowed` and `full` return the same: the states z_0 ... z_K, the image, what the energy saw of it, and the gradients
g_0 ... g_K, each shaped like its state; all detached, so that no graph outlives the call.  Parameters of the networks
get no gradient.
"""

from __future__ import annotations

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


def full(flow: Flow, decode: Decoder, energy: Energy, z0: Tensor, offsets: list[Tensor], number: int):
    """In one graph: no recomputation, the memory of all windows."""
    with torch.enable_grad():
        states = trajectory(flow, z0.detach().requires_grad_(), offsets)
        image, seen = observe(decode, energy, states[-1], number)
        gradients = _pull_back(seen.energy, states, None, "the decoder or the energy")
    _check_finite(gradients, number)
    return [z.detach() for z in states], image.detach(), replace(seen, energy=seen.energy.detach()), gradients


def windowed(flow: Flow, decode: Decoder, energy: Energy, z0: Tensor, offsets: list[Tensor], number: int):
    """By the chain rule, the last window first: each is run again under autograd, with the memory of one."""
    with torch.no_grad():
        states = trajectory(flow, z0, offsets)
    with torch.enable_grad():
        z = states[-1].detach().requires_grad_()
        image, seen = observe(decode, energy, z, number)
        gradients = _pull_back(seen.energy, [z], None, "the decoder or the energy")
        image, seen = image.detach(), replace(seen, energy=seen.energy.detach())
        for k in reversed(range(len(flow))):
            z = states[k].detach().requires_grad_()
            gradients = _pull_back(flow.step(k, z), [z], gradients[0], f"step {k + 1} of the flow") + gradients
    _check_finite(gradients, number)
    return states, image, seen, gradients


def _pull_back(output: Tensor, inputs: list[Tensor], cotangent: Tensor | None, name: str) -> list[Tensor]:
    """The vector-Jacobian products of ``output`` and ``cotangent`` (None: ones), one for each input."""
    if not output.requires_grad:
        raise RuntimeError(f"{name} cannot be differentiated: something in it cuts the gradient")
    return list(torch.autograd.grad(output, inputs, torch.ones_like(output) if cotangent is None else cotangent))


def _check_finite(gradients: list[Tensor], number: int) -> None:
    windows = len(gradients) - 1
    for k, gradient in reversed(list(enumerate(gradients))):  # as the gradient runs: where was it lost first?
        if not gradient.isfinite().all():
            where = "the decoder or the energy" if k == windows else f"step {k + 1} of {windows} of the flow"
            raise NonFiniteGradientError(
                f"iteration {number}: the gradient became nan or infinite in {where}; "
                "use a smaller guidance scale, or run the models in float32 or bfloat16"
            )
