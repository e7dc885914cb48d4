"""The traits of a subject as numbers that a network can learn and read."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

from .render import AMOUNTS, CHOICES, NAMED, THINGS, Place, Subject

DEVIATION = 12**-0.5  # of an amount, which is uniform in [0, 1]
NEAR = 0.2  # an amount is read right if it is off by less
SIZES = [len(AMOUNTS), *map(len, CHOICES.values())]
OUTPUTS = sum(SIZES)
SEEN = ("pose", "place", "position")  # what a prompt names beside the kind
PLACE_OUTPUTS = sum(len(NAMED[name]) for name in SEEN)


def encode_traits(subjects: Sequence[Subject]) -> tuple[Tensor, Tensor]:
    """Amounts (N, 2) in deviations from 0.5, and numbers of choices (N, 6)."""
    amounts = torch.tensor([[getattr(subject, name) for name in AMOUNTS] for subject in subjects])
    choices = [[values.index(getattr(subject, name)) for name, values in CHOICES.items()] for subject in subjects]
    return (amounts - 0.5) / DEVIATION, torch.tensor(choices)


def encode_places(places: Sequence[Place]) -> Tensor:
    """Numbers of choices, (N, 3)."""
    return torch.tensor([[NAMED[name].index(getattr(place, name)) for name in SEEN] for place in places])


def trait_loss(outputs: Tensor, amounts: Tensor, choices: Tensor) -> Tensor:
    """Mean over the traits of an amount's squared error, in variances, and of a choice's cross-entropy in parts of what
    not knowing costs, so that each trait weighs the same."""
    read, *logits = outputs.float().split(SIZES, 1)
    total = F.mse_loss(read, amounts) * len(AMOUNTS)
    for i, group in enumerate(logits):
        total = total + F.cross_entropy(group, choices[:, i]) / log(group.shape[1])
    return total / (len(AMOUNTS) + len(CHOICES))


def place_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    groups = outputs.float().split([len(NAMED[name]) for name in SEEN], 1)
    return sum(F.cross_entropy(group, labels[:, i]) for i, group in enumerate(groups)) / len(SEEN)


def read_traits(outputs: Tensor) -> list[dict]:
    """What the judge says of each picture's subject: amounts in [0, 1], and choices."""
    amounts, *logits = outputs.float().split(SIZES, 1)
    found = [dict(zip(AMOUNTS, values, strict=True)) for values in (amounts * DEVIATION + 0.5).clamp(0, 1).tolist()]
    for (name, values), group in zip(CHOICES.items(), logits, strict=True):
        for each, choice in zip(found, group.argmax(1).tolist(), strict=True):
            each[name] = values[choice]
    return found


def read_places(outputs: Tensor) -> list[dict]:
    """What the judge says of each picture that a prompt could name beside the kind."""
    groups = outputs.float().split([len(NAMED[name]) for name in SEEN], 1)
    rows = zip(*(group.argmax(1).tolist() for group in groups), strict=True)
    return [{name: NAMED[name][i] for name, i in zip(SEEN, row, strict=True)} for row in rows]


def agreement(one: dict, other: dict) -> dict[str, bool]:
    """For each trait but the kind whether two readings of a subject say the same; a plain thing has no second color."""
    names = [name for name in (*AMOUNTS, *CHOICES) if name != "kind"]
    if "plain" in (one["pattern"], other["pattern"]) and one["kind"] in THINGS:
        names.remove("second")
    return {
        name: abs(one[name] - other[name]) < NEAR if name in AMOUNTS else one[name] == other[name] for name in names
    }
