"""A small recogniser of plain pictures, and identities by it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.identity.identity import Identity

from .worlds import rng


def discriminator(name="first", digest="a" * 64, size=8, **settings) -> EmbeddingDiscriminator:
    """Ten numbers of a crop of 8 x 8 pixels, by random weights that are always the same."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 10)).requires_grad_(False)
    return EmbeddingDiscriminator(network, name=name, digest=digest, input_size=size, **settings)


def references(count=3, seed=0) -> torch.Tensor:
    return torch.rand(count, 3, 20, 20, generator=rng(seed))


def identity(**changes) -> Identity:
    """Of three references with the weights 1, 0.5 and 0."""
    return replace(encode_identity(discriminator(), references(), weights=(1, 0.5, 0)), **changes)
