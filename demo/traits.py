"""The traits of an identity as numbers that a network can learn: what the recognisers' auxiliary loss asks for, and
what the trait reader says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from portrait import BEARDS, EYES, HAIR_STYLES, HAIRS, NOSES, _skin
from torch import Tensor
from torch.nn import functional as F

CHOICES = {
    "hair_style": HAIR_STYLES,
    "hair_color": HAIRS,
    "eye_color": EYES,
    "nose": NOSES,
    "glasses": ("none", "round", "square"),
    "beard": tuple(dict.fromkeys(BEARDS)),
    "freckles": (False, True),
}
AMOUNTS = (
    *("skin", "face_width", "face_height", "jaw", "eye_size", "eye_gap", "brow_thickness", "brow_tilt", "nose_size"),
    *("mouth_width", "lip_thickness", "lip_redness", "ear_size"),
)
DEVIATION = 12**-0.5  # of an amount, which is uniform in [0, 1]
NEAR = 0.2  # an amount is read right if it is off by less


class Traits:
    """What is told of something drawn: amounts in [0, 1], by name, and choices, each among its values.

    outputs: how many numbers a network says of them.
    """

    def __init__(self, amounts: Sequence[str], choices: Mapping[str, Sequence]):
        self.amounts, self.choices = amounts, choices
        self.sizes = [len(amounts), *map(len, choices.values())]
        self.outputs = sum(self.sizes)

    def encode(self, drawn: Sequence) -> tuple[Tensor, Tensor]:
        """Amounts (N, A) in deviations from 0.5, and numbers of choices (N, C)."""
        amounts = torch.tensor([[getattr(one, name) for name in self.amounts] for one in drawn])
        choices = [[values.index(getattr(one, name)) for name, values in self.choices.items()] for one in drawn]
        return (amounts - 0.5) / DEVIATION, torch.tensor(choices)

    def split(self, outputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A network's outputs (N, outputs) as amounts (N, A) and the logits of each choice."""
        amounts, *logits = outputs.float().split(self.sizes, 1)
        return amounts, tuple(logits)

    def loss(self, outputs: Tensor, amounts: Tensor, choices: Tensor) -> Tensor:
        """Mean over the traits of an amount's squared error, in variances, and of a choice's cross-entropy in parts of
        what not knowing costs, so that each trait weighs the same."""
        read, logits = self.split(outputs)
        total = F.mse_loss(read, amounts) * len(self.amounts)
        for i, group in enumerate(logits):
            total = total + F.cross_entropy(group, choices[:, i]) / np.log(group.shape[1])
        return total / (len(self.amounts) + len(self.choices))

    def read(self, outputs: Tensor) -> list[dict]:
        """What a network says of each picture: amounts in [0, 1], and choices."""
        amounts, logits = self.split(outputs)
        amounts = (amounts * DEVIATION + 0.5).clamp(0, 1)
        found = [dict(zip(self.amounts, values, strict=True)) for values in amounts.tolist()]
        for (name, values), group in zip(self.choices.items(), logits, strict=True):
            for one, choice in zip(found, group.argmax(1).tolist(), strict=True):
                one[name] = values[choice]
        return found

    def agree(self, trait: str, one, other) -> bool:
        """Whether two readings of a trait say the same."""
        return abs(one - other) < NEAR if trait in self.amounts else one == other


PERSON = Traits(AMOUNTS, CHOICES)
OUTPUTS = PERSON.outputs
encode_traits, trait_loss, read_traits, agree = PERSON.encode, PERSON.loss, PERSON.read, PERSON.agree


def lab(color: Sequence[float]) -> np.ndarray:
    """CIE L*a*b* (D65) of an sRGB color in 0 .. 255."""
    srgb = np.asarray(color, dtype=float) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ linear / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def color_error(trait: str, one, other) -> float:
    """Distance in CIE Lab (1976) of two readings of the skin or the hair color."""
    colors = (_skin(one), _skin(other)) if trait == "skin" else (one, other)
    return float(np.linalg.norm(lab(colors[0]) - lab(colors[1])))
