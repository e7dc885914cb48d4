"""Ascent on the noise by Adam, which is held to what noise looks like.

Tang et al., Direct Noise Optimization, arXiv 2405.18881: the regulariser is the concentration of random subvectors'
means and covariances; here the means and second moments of 4 x 4 blocks of the latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from rivals.basis import end
from rivals.guided import Guided


@dataclass
class DNO(Guided):
    iterations: int = 20
    rate: float = 0.05
    weight: float = 0.1  # of the regulariser
    name: ClassVar[str] = "dno"

    def draw(self, world, flow, look, noise):
        z = noise.clone().requires_grad_()
        optimizer = torch.optim.Adam([z], self.rate)
        for _ in range(self.iterations):
            with torch.enable_grad():
                loss = -look(world.decode(end(flow, z))).sum() + self.weight * unlike_noise(z)
            (z.grad,) = torch.autograd.grad(loss, z)
            optimizer.step()
        with torch.no_grad():
            return world.decode(end(flow, z))


def unlike_noise(z: Tensor) -> Tensor:
    """How far the means and the second moments of 4 x 4 blocks of each channel are beyond their usual deviations,
    in those deviations, squared: about 1 for noise, more for what is not."""
    blocks = F.unfold(z.flatten(0, 1)[:, None], 4, stride=4)  # (B * C, 16, blocks)
    mean, second = blocks.mean(1), blocks.square().mean(1)
    return ((16 * mean.square()).mean() + (16 / 2 * (second - 1).square()).mean()) / 2
