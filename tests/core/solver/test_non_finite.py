"""Where nan or infinity appears, the error names the network that gave it."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.guidance.weighted_sum import NamedEnergy, Schedule, WeightedSum
from rectifid_core.interfaces import Observation
from rectifid_core.solver.chains import NonFiniteGradientError
from rectifid_core.solver.solve import solve
from rectifid_core.solver.trajectory import NonFiniteError
from tests.helpers.worlds import CurvedEnergy, CurvedFlow, normal

Z0 = normal(2, 3, 4, 4, seed=7)


class Broken(CurvedFlow):
    def step(self, k, z):
        return super().step(k, z) * (torch.nan if k == 2 else 1)


def broken_energy(image, iteration):
    return Observation(image.flatten(1).sum(dim=1) * torch.inf, torch.zeros(len(image)))


def run(flow=None, decode=torch.sigmoid, energy=None, z0=Z0, **settings):
    return list(solve(flow or CurvedFlow(), decode, energy or CurvedEnergy(), z0, **settings))


@pytest.mark.parametrize("iterations", [0, 2])
@pytest.mark.parametrize("gradient", ["windowed", "full", "straight"])
@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ({"flow": Broken()}, "the model .*step 3"),
        ({"decode": lambda z: z * torch.nan}, "VAE"),
        ({"energy": broken_energy}, "recogniser"),
        ({"z0": Z0 * torch.nan}, "latent"),
    ],
)
def test_the_error_names_the_network(broken, name, gradient, iterations):
    with pytest.raises(NonFiniteError, match=f"iteration 0.*{name}"):
        run(**broken, gradient=gradient, iterations=iterations, loss_scale=4.0)


def test_the_error_names_the_iteration():
    def decode(z):
        calls.append(1)
        return torch.sigmoid(z) * (torch.nan if len(calls) == 3 else 1)

    calls = []
    with pytest.raises(NonFiniteError, match="iteration 2.*VAE"):
        run(decode=decode, iterations=5)


def test_the_error_names_the_term_of_a_weighted_sum():
    energies = {"person": CurvedEnergy(), "dog": broken_energy}
    members = [NamedEnergy(name, energy) for name, energy in energies.items()]
    with pytest.raises(NonFiniteError, match="dog"):
        run(energy=WeightedSum(members, {name: Schedule() for name in energies}, ["person"]))


def test_a_single_pass_names_the_network_too():
    with pytest.raises(NonFiniteError, match="VAE"):
        run(rule="single_pass", decode=lambda z: z * torch.nan)


def test_a_gradient_that_overflows_is_an_error_of_its_own():
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * torch.inf

    with pytest.raises(NonFiniteGradientError, match="gradient"):
        run(decode=lambda z: torch.sigmoid(Steep.apply(z)))
