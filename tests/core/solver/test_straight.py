"""The straight-flow gradient: where it is exact, its bound where it is not, and what it spares."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.guidance.weighted_sum import NamedEnergy, Schedule, WeightedSum
from rectifid_core.scope import GuidanceScope
from rectifid_core.solver.gradient import straight, windowed
from rectifid_core.solver.solve import solve
from tests.helpers.worlds import (
    SIZE,
    CurvedEnergy,
    CurvedFlow,
    GaussianFlow,
    MinimalFlow,
    QuadraticEnergy,
    covariance,
    flat_image,
    normal,
)

ENERGY = QuadraticEnergy(covariance(4, 0.2, 1.0), normal(SIZE, seed=5))
Z0, OFFSETS = normal(2, SIZE, seed=6), list(0.3 * normal(4, 2, SIZE, seed=8))
SHIFTS = normal(4, SIZE, seed=3)


def test_it_is_exact_for_a_flow_that_only_shifts():
    arguments = MinimalFlow(lambda k, z: z + SHIFTS[k], windows=4), flat_image, ENERGY, Z0, OFFSETS, 0
    for cheap, exact in zip(straight(*arguments)[3], windowed(*arguments)[3], strict=True):
        torch.testing.assert_close(cheap, exact, atol=1e-14, rtol=0)


@pytest.mark.parametrize("exact", [True, False])
def test_its_error_stays_within_the_stated_bound(exact):
    flow = GaussianFlow(4, exact)
    eye = torch.eye(SIZE, dtype=torch.float64)
    nearness = max(torch.linalg.matrix_norm(matrix - eye, 2).item() for matrix, _ in flow.affine)
    arguments = flow, flat_image, ENERGY, Z0, OFFSETS, 0
    (states, image, _, cheap), (also_states, also_image, _, right) = straight(*arguments), windowed(*arguments)
    assert all(torch.equal(a, b) for a, b in zip([*states, image], [*also_states, also_image], strict=True))
    end = right[-1].norm(dim=1)
    for k in range(5):
        error = (cheap[k] - right[k]).norm(dim=1)
        assert (error <= ((1 + nearness) ** (4 - k) - 1) * end + 1e-12).all()
        assert k == 4 or (error > 0.01 * end).all()  # else there would be nothing to bound


def test_no_window_runs_under_autograd():
    class NoAutograd(CurvedFlow):
        def step(self, k, z):
            assert not torch.is_grad_enabled()
            return super().step(k, z)

    z0 = normal(2, 3, 4, 4, seed=7)
    energies = [
        each.energy
        for each in solve(NoAutograd(), torch.sigmoid, CurvedEnergy(), z0, gradient="straight", scale=0.3, iterations=8)
    ]
    assert (energies[-1] < energies[0]).all()


def test_a_scope_confines_it_like_the_exact_gradient():
    """An energy in the first half of the windows and under a mask, and another in all of them: as the exact one."""
    flow = MinimalFlow(lambda k, z: z + SHIFTS[k].view(3, 2, 2), windows=4)
    half = GuidanceScope((0.0, 0.5), (torch.tensor([[1.0, 0.0], [0.5, 0.0]]),))
    energy = WeightedSum(
        [NamedEnergy("a", CurvedEnergy()), NamedEnergy("b", CurvedEnergy())],
        {"a": Schedule(scope=half), "b": Schedule(0.5)},
        ["a"],
    )
    arguments = flow, torch.sigmoid, energy, Z0.view(2, 3, 2, 2), [each.view(2, 3, 2, 2) for each in OFFSETS], 0
    exact = windowed(*arguments)[3]
    assert not torch.allclose(exact[0], exact[3])
    for cheap, right in zip(straight(*arguments)[3], exact, strict=True):
        torch.testing.assert_close(cheap, right, atol=1e-14, rtol=0)
