"""A detector that plays a script, on small pictures."""

from __future__ import annotations

import torch

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.images.regions import Region

from .worlds import rng

LEFT, RIGHT = Region((0, 0, 12, 12), 0.9), Region((12, 4, 24, 16), 0.8)
NEAR_RIGHT = Region((11, 5, 23, 17), 0.7)
FAINT, FAINTER = Region((2, 2, 10, 10), 0.4), Region((12, 12, 20, 20), 0.3)


class Scripted(EmbeddingDiscriminator):
    """A detector that returns the next entry of its script at each call: regions by image."""

    noun = "face"
    detects = True
    threshold = 0.5

    def __init__(self, *script, network=None, name="scripted"):
        if network is None:
            torch.manual_seed(0)
            network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 6)).double()
        super().__init__(network.requires_grad_(False), name=name, digest=name, input_size=8)
        self.script = list(script)
        self.calls = 0

    def locate(self, image, query=None, thorough=False):
        assert not torch.is_grad_enabled()
        regions = self.script[min(self.calls, len(self.script) - 1)]
        self.calls += 1
        return regions


def replace_script(guidance, *script):
    guidance.discriminator.script = list(script)
    guidance.discriminator.calls = 0
    return guidance


def pictures(batch=1, seed=0):
    return torch.rand(batch, 3, 24, 24, generator=rng(seed), dtype=torch.float64)
