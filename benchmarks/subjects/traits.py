"""The traits of a subject as numbers that a network can learn and read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from traits import Traits

from .render import AMOUNTS, CHOICES, NAMED, THINGS, Place

SUBJECT = Traits(AMOUNTS, CHOICES)
OUTPUTS = SUBJECT.outputs
encode_traits, trait_loss, read_traits = SUBJECT.encode, SUBJECT.loss, SUBJECT.read
SEEN = ("pose", "place", "position")  # what a prompt names beside the kind
PLACE_SIZES = [len(NAMED[name]) for name in SEEN]
PLACE_OUTPUTS = sum(PLACE_SIZES)


def encode_places(places: Sequence[Place]) -> Tensor:
    """Numbers of choices, (N, 3)."""
    return torch.tensor([[NAMED[name].index(getattr(place, name)) for name in SEEN] for place in places])


def place_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    groups = outputs.float().split(PLACE_SIZES, 1)
    return sum(F.cross_entropy(group, labels[:, i]) for i, group in enumerate(groups)) / len(SEEN)


def read_places(outputs: Tensor) -> list[dict]:
    """What the judge says of each picture that a prompt could name beside the kind."""
    groups = outputs.float().split(PLACE_SIZES, 1)
    rows = zip(*(group.argmax(1).tolist() for group in groups), strict=True)
    return [{name: NAMED[name][i] for name, i in zip(SEEN, row, strict=True)} for row in rows]


def agreement(one: dict, other: dict) -> dict[str, bool]:
    """For each trait but the kind whether two readings of a subject say the same; a plain thing has no second color."""
    names = [name for name in (*AMOUNTS, *CHOICES) if name != "kind"]
    if "plain" in (one["pattern"], other["pattern"]) and one["kind"] in THINGS:
        names.remove("second")
    return {name: SUBJECT.agree(name, one[name], other[name]) for name in names}
