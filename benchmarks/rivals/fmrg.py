"""One trajectory: after each step a look ahead to its end, and steps of a fixed length along the gradient there.

Huang et al., Flow Map Reward Guidance, arXiv 2604.27147.  The flow map is the flow's own remaining windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rivals.guided import Guided, ascent, normalized


@dataclass
class FMRG(Guided):
    length: float = 4.0  # of each step; the noise's is 64
    name: ClassVar[str] = "fmrg"

    def draw(self, world, flow, look, noise):
        z = noise
        for k in range(len(flow)):
            with torch.no_grad():
                z = flow.step(k, z)

            def ahead(z, k=k):
                for later in range(k + 1, len(flow)):
                    z = flow.step(later, z)
                return look(world.decode(z))

            for _ in range(max(1, self.iterations // len(flow))):
                z = z + self.length * normalized(ascent(ahead, z)[1])
        with torch.no_grad():
            return world.decode(z)
