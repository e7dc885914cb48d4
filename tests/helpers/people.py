"""People in plain colors, a recogniser that tells them apart by these, and identities of random pictures."""

from __future__ import annotations

import torch

from rectifid_core.guidance.identity import IdentityGuidance
from rectifid_core.identity.encoding import encode_identity

from .scripted import LEFT, RIGHT, Scripted, pictures

RED, GREEN, BLUE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


class ByColor(Scripted):
    """Embeds the mean color of a crop; counts how often it is asked to."""

    def __init__(self, *script, name="by color"):
        network = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten())
        super().__init__(*script, network=network, name=name)
        self.embedded = 0

    def embed(self, crops):
        self.embedded += 1
        return super().embed(crops)


def people(eye, *colors):
    """Guidances by the identities of plain pictures."""
    script, eye.script = eye.script, [[[LEFT]]]
    identities = [IdentityGuidance(encode_identity(eye, [painted((LEFT, color))]), eye) for color in colors]
    eye.script, eye.calls, eye.embedded = script, 0, 0
    return identities


def painted(*spots, ground=0.5):
    """A picture ``(3, 24, 24)`` with these regions in these colors."""
    picture = torch.full((3, 24, 24), ground, dtype=torch.float64)
    for region, color in spots:
        left, top, right, bottom = (int(edge) for edge in region.box)
        picture[:, top:bottom, left:right] = torch.tensor(color, dtype=torch.float64)[:, None, None]
    return picture


TWO = painted((LEFT, RED), (RIGHT, GREEN))
SWAPPED = painted((LEFT, GREEN), (RIGHT, RED))


def references(eye, *seeds):
    """Guidances by identities of random pictures, of their likeness alone."""
    script, eye.script = eye.script, [[[LEFT]]]
    identities = [
        IdentityGuidance(encode_identity(eye, [pictures(seed=seed)[0]]), eye, color_first=False) for seed in seeds
    ]
    eye.script, eye.calls = script, 0
    return identities


def half(side, size=(24, 24)):
    mask = torch.zeros(size)
    middle = size[1] // 2
    mask[:, slice(0, middle) if side == "left" else slice(middle, None)] = 1
    return mask
