"""Guidance on the way: its closed form in an affine world, what it costs, and its predictions are never the best."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.solver.best import Best
from rectifid_core.solver.single_pass import divide
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

HESSIAN, CENTRE = covariance(4, 0.2, 1.0), normal(SIZE, seed=5)
Z0 = normal(2, SIZE, seed=6)
CURVED = normal(3, 3, 4, 4, seed=7)


def run(flow, decode=flat_image, energy=None, z0=Z0, **settings):
    energy = energy or QuadraticEnergy(HESSIAN, CENTRE)
    return list(solve(flow, decode, energy, z0, rule="single_pass", **settings))


@pytest.mark.parametrize(
    ("windows", "exact", "last"), [(1, False, True), (4, False, True), (4, True, True), (4, False, False)]
)
def test_each_window_descends_from_its_predicted_end(windows, exact, last):
    """n steps s from e on (x - c)^T H (x - c) / 2 lead to c + (e - c) (I - s H)^n; that less e is the offset."""
    flow, scale, each, weight = GaussianFlow(windows, exact, weight=0.7), 0.4, 3, 0.7
    guided = windows if last else windows - 1
    shrink = torch.linalg.matrix_power(torch.eye(SIZE, dtype=torch.float64) - scale * weight * HESSIAN, each)
    z, ends = Z0, []
    for k in range(windows):
        window_end, end = flow.predict(k, z)
        ends.append(window_end if k == windows - 1 else end)
        z = window_end + (CENTRE + (ends[k] - CENTRE) @ shrink - ends[k]) * (k < guided)
    iterates = run(flow, scale=scale, iterations=guided * each, clip=False, last_offset=last)
    torch.testing.assert_close(iterates[-1].latent, z)
    torch.testing.assert_close(iterates[0].latent, flow.end(Z0))
    torch.testing.assert_close(iterates[0].residual, scale * weight * ((ends[0] - CENTRE) @ HESSIAN).norm(dim=1))


def test_an_update_is_clipped_to_a_norm_of_one():
    far = 10 * Z0
    first, *_ = run(GaussianFlow(4, False), z0=far, scale=0.3, iterations=4)
    torch.testing.assert_close(first.residual, torch.full((2,), 0.3, dtype=torch.float64))


def test_it_costs_two_trajectories_without_autograd_and_a_decode_for_each_update():
    calls = {"flow": 0, "decode": 0}

    class Counted(CurvedFlow):
        def step(self, k, z):
            assert not torch.is_grad_enabled()
            calls["flow"] += 1
            return super().step(k, z)

    def decode(z):
        calls["decode"] += 1
        return torch.sigmoid(z)

    iterates = run(Counted(), decode, CurvedEnergy(), CURVED, scale=0.5, iterations=10)
    assert calls == {"flow": 2 * 4, "decode": 10 + 2}
    assert [each.number for each in iterates] == list(range(11))
    assert (iterates[-1].energy < iterates[0].energy).all()
    assert iterates[-1].residual.isnan().all() and not iterates[-2].residual.isnan().any()


def test_predictions_are_marked_and_are_never_the_best():
    """Three updates in each of the first two windows, two in the others: iterates 1 to 7 come before the last one."""
    flow = CurvedFlow()
    iterates = run(flow, torch.sigmoid, CurvedEnergy(), CURVED, scale=0.5, iterations=10)
    assert [each.predicted for each in iterates] == [False, *[True] * 7, False, False, False]
    best = Best()
    for each in iterates:
        best.update(each)
    assert set(best.number.tolist()) <= {0, 8, 9, 10}
    early = Best()
    for each in iterates[:8]:
        early.update(each)
    assert early.number.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("updates", "windows", "last", "counts"),
    [
        (20, 4, True, [5, 5, 5, 5]),
        (10, 4, True, [3, 3, 2, 2]),
        (2, 4, True, [1, 1, 0, 0]),
        (8, 4, False, [3, 3, 2, 0]),
        (3, 1, True, [3]),
    ],
)
def test_updates_are_divided_evenly_and_the_first_windows_get_the_remainder(updates, windows, last, counts):
    assert divide(updates, windows, last=last) == counts


def test_a_flow_that_cannot_foresee_its_end_is_refused():
    with pytest.raises(TypeError, match="foresee.*single_pass"):
        run(MinimalFlow())
