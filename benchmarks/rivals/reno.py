"""Ascent on the noise: the picture's likeness is differentiated through the whole flow to where it starts.

Eyring et al., ReNO, arXiv 2406.04312: momentum of Nesterov, clipped gradients, a regulariser that keeps the length of
a noise, and the best picture on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rivals.basis import end
from rivals.guided import Guided


@dataclass
class ReNO(Guided):
    iterations: int = 20
    rate: float = 5.0
    clip: float = 0.1
    weight: float = 1.0  # of the likeness, beside the regulariser's 0.01
    name: ClassVar[str] = "reno"

    def draw(self, world, flow, look, noise):
        z = noise.clone().requires_grad_()
        optimizer = torch.optim.SGD([z], self.rate, momentum=0.9, nesterov=True)
        best, shown = torch.tensor([-1.0]), noise
        for number in range(self.iterations + 1):
            with torch.set_grad_enabled(number < self.iterations):
                image = world.decode(end(flow, z))
                like = look(image)
                loss = -self.weight * like.sum() - 0.01 * log_density_of_length(z)
            if like.item() > best.item():
                best, shown = like.detach(), image.detach()
            if number < self.iterations:
                (z.grad,) = torch.autograd.grad(loss, z)
                torch.nn.utils.clip_grad_norm_([z], self.clip)
                optimizer.step()
        return shown


def log_density_of_length(z: Tensor) -> Tensor:
    """Up to a constant, of a normal noise's length: (D - 1) log r - r^2 / 2."""
    length = z.flatten(1).norm(dim=1)
    return ((z[0].numel() - 1) * length.log() - length.square() / 2).sum()
