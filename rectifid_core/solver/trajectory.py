"""A trajectory through the windows of a flow, and what is observed at its end."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..interfaces import Decoder, Energy, Flow, Observation


class NonFiniteError(FloatingPointError):
    """A network gave nan or infinity; the message says which, and what to do."""


class Trajectory(NamedTuple):
    """All of it detached, so that no graph outlives the gradient.

    states: z_0 ... z_K, ``(B, ...)`` each; image: ``(B, 3, H, W)``; observation: what the energy observed in it.
    gradients: g_0 ... g_K, each shaped like its state.
    """

    states: list[Tensor]
    image: Tensor
    observation: Observation
    gradients: list[Tensor]


def run_flow(flow: Flow, z0: Tensor, offsets: list[Tensor]) -> list[Tensor]:
    """z_0 ... z_K with z_(k+1) = F_k(z_k) + d_k."""
    states = [z0]
    for k, offset in enumerate(offsets):
        states.append(flow.step(k, states[-1]) + offset)
    return states


def observe(decode: Decoder, energy: Energy, states: list[Tensor], number: int) -> tuple[Tensor, Observation]:
    """The image of the last of the states, and what the energy observes in it; NonFiniteError for nan and infinity."""
    image = decode(states[-1])
    observation = energy(image, number)
    if not (observation.energy.isfinite().all() and image.isfinite().all()):
        raise NonFiniteError(f"iteration {number}: {_culprit(states, image, observation)}")
    return image, observation


def _culprit(states: list[Tensor], image: Tensor, observation: Observation) -> str:
    """The network that first gave something that is not finite, and what to do about it."""
    for k, z in enumerate(states):
        if not z.isfinite().all():
            if k == 0:
                return "the latent that the run starts from has nan or infinite numbers; look at the nodes before it"
            return (
                f"the model gave nan or infinite numbers in step {k} of {len(states) - 1}; run it in float32 or "
                "bfloat16, or lower the guidance scale"
            )
    if not image.isfinite().all():
        return "the VAE made nan or infinite pixels of a sound latent; run it in float32 or bfloat16 (--fp32-vae)"
    terms = [name for name, term in observation.terms.items() if not term.energy.isfinite().all()]
    return (
        f"the recogniser{f' of {terms[0]}' if terms else ''} gave nan or infinite numbers for a sound picture; load it "
        "in fp32, or load another file"
    )
