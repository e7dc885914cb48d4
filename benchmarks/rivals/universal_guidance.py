"""Classifier guidance at each step: the likeness of the predicted clean picture, differentiated through the flow's
velocity, is added to the step, and each step is taken several times from noise put in again.

Bansal et al., Universal Guidance for Diffusion Models, arXiv 2302.07121, its forward guidance with self-recurrence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rivals.guided import Guided, ascent, normalized


@dataclass
class UniversalGuidance(Guided):
    length: float = 8.0  # of the guidance in each step
    name: ClassVar[str] = "universal_guidance"

    def draw(self, world, flow, look, noise):
        z, generator = noise, torch.Generator().manual_seed(0)
        times = max(1, self.iterations // len(flow))
        for k in range(len(flow)):
            for time in range(times):

                def predicted(z, k=k):
                    return look(world.decode(flow.predict(k, z)[1]))

                gradient = normalized(ascent(predicted, z)[1])
                with torch.no_grad():
                    end = flow.step(k, z) + self.length * gradient
                if time + 1 < times:
                    fresh = torch.randn(z.shape, generator=generator)
                    z = renoised(end, flow.sigmas[k + 1], flow.sigmas[k], fresh)
            z = end
        with torch.no_grad():
            return world.decode(z)


def renoised(z: Tensor, low: Tensor, high: Tensor, noise: Tensor) -> Tensor:
    """A state of the noise level ``low`` brought back to ``high``, as if it had been noised that far at once."""
    kept = (1 - high) / (1 - low)
    return kept * z + (high.square() - (kept * low).square()).sqrt() * noise
