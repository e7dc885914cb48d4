"""The calls that benchmarks/floor.py makes are those of an iteration, and its FLOPs what they cannot do without."""

from __future__ import annotations

import torch

from rectifid_core.interfaces import Observation
from rectifid_core.solver.gradient import windowed
from tests.helpers.benchmarks import benchmark
from tests.helpers.worlds import MinimalFlow

floor = benchmark("floor")
WINDOWS, WIDTH, PIXELS = 3, 32, 3 * 4 * 4


MATRICES = torch.randn(WINDOWS, WIDTH, WIDTH, generator=torch.manual_seed(0)) / WIDTH**0.5
FLOW = MinimalFlow(lambda k, z: z + (z @ MATRICES[k]).tanh(), WINDOWS)  # windows of one matrix each


def decode(z):
    return (z @ torch.ones(WIDTH, PIXELS)).view(-1, 3, 4, 4).sigmoid()


def see(image, iteration):
    return (image * torch.linspace(0, 1, 4)).flatten(1).sum(dim=1)


def test_its_gradient_is_the_solvers():
    flow, z0 = FLOW, torch.randn(2, WIDTH)
    gradient = floor.pull_backs(flow, decode, see, floor.forwards(flow, z0), 0)

    def energy(image, iteration):
        value = see(image, iteration)
        return Observation(value, value.detach())

    _, _, _, g = windowed(flow, decode, energy, z0, [torch.zeros_like(z0)] * WINDOWS, 0)
    assert torch.allclose(gradient, g[0], rtol=1e-5) and gradient.abs().max() > 0


def test_the_floor_has_each_network_once_forward_and_once_backward():
    window, picture = 2 * WIDTH * WIDTH, 2 * WIDTH * PIXELS
    assert floor.floor_flops(FLOW, decode, see, torch.zeros(1, WIDTH)) == 2 * (WINDOWS * window + picture)
