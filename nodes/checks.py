"""What arrives at a socket, checked: the host lets anything through from a node whose output takes every type."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..rectifid_core.guidance.identity import IdentityGuidance
from .host.networks.discriminators import HostedDiscriminator

_PLAIN = {str: "a text", int: "a number", float: "a number", bool: "a yes or no"}
_ON_THE_WAY = "and look at switches and muted nodes on the way"


def checked_identity(value: Any, node: str) -> IdentityGuidance:
    """The identity that a guidance socket of ``node`` got; ValueError, with advice, for anything else."""
    if isinstance(value, IdentityGuidance):
        return value
    advice = "connect Encode Reference Identity or Load Identity"
    if hasattr(value, "energy"):
        raise ValueError(f"{node} takes an identity, and here arrives another guidance, {name_of(value)}: {advice}.")
    raise ValueError(f"{name_of(value)} arrives at {node} where an identity should: {advice}, {_ON_THE_WAY}.")


def checked_discriminator(value: Any, node: str) -> HostedDiscriminator:
    """A discriminator; ValueError, with advice, for anything else."""
    if isinstance(value, HostedDiscriminator):
        return value
    raise ValueError(
        f"{name_of(value)} arrives at {node} where a discriminator should: connect Load Face Discriminator or another "
        f"loader of the pack, {_ON_THE_WAY}."
    )


def checked_images(value: Any, node: str) -> Tensor:
    """The host's batch of images; ValueError, with advice, for what is no tensor with images in it."""
    if isinstance(value, Tensor) and value.ndim > 1:
        return value
    raise ValueError(
        f"{name_of(value)} arrives at {node} where an image should: connect Load Image or another node that gives one, "
        f"{_ON_THE_WAY}."
    )


def name_of(value: Any) -> str:
    """A value in words, for messages."""
    if value is None:
        return "nothing"
    if isinstance(value, Tensor):
        return f"a tensor of the shape {tuple(value.shape)}"
    return _PLAIN.get(type(value)) or f"a {type(value).__name__}"
