"""The rule `anchored`: it lands on the paper's fixed point, for each sample its own, whatever the strength."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.solver.batched import unit
from rectifid_core.solver.descent import RADIUS, Descent
from rectifid_core.solver.rules import Anchored
from rectifid_core.solver.solve import solve
from tests.helpers.worlds import (
    SIZE,
    CurvedEnergy,
    CurvedFlow,
    GaussianFlow,
    QuadraticEnergy,
    covariance,
    flat_image,
    normal,
)

HESSIAN, CENTRE = covariance(4, 0.2, 1.0), normal(SIZE, seed=5)
Z0 = normal(2, SIZE, seed=6)


def jacobian(flow):
    """M of G(d) = -s (M d + ...), all windows' offsets in one vector, and its two factors."""
    rows = torch.cat([flow.downstream(k).T @ HESSIAN for k in range(len(flow))])
    columns = torch.cat([flow.downstream(k + 1) for k in range(len(flow))], dim=1)
    return rows @ columns, rows, columns


@pytest.mark.parametrize("stiffness", [0.5, 0.9, 3.0, 30.0, 300.0])
def test_it_lands_on_the_fixed_point_where_picard_s_iteration_converges_and_where_not(stiffness):
    """stiffness: s L, of the largest eigenvalue; above 1 the undamped iteration diverges."""
    flow = GaussianFlow(4, exact=True, weight=0.7)
    matrix, rows, columns = jacobian(flow)
    scale = stiffness / (0.7 * torch.linalg.eigvals(matrix).abs().max().item())
    eye = torch.eye(len(matrix), dtype=torch.float64)
    fixed = torch.linalg.solve(eye + 0.7 * scale * matrix, -0.7 * scale * ((flow.end(Z0) - CENTRE) @ rows.T).T).T
    energy = QuadraticEnergy(HESSIAN, CENTRE)
    exactly = {"rule": "anchored", "gradient": "windowed", "scale": scale, "iterations": 200}
    iterates = list(solve(flow, flat_image, energy, Z0, **exactly))
    torch.testing.assert_close(iterates[-1].latent, flow.end(Z0) + fixed @ columns.T, atol=1e-5, rtol=0)
    assert (iterates[-2].residual < 1e-4 * iterates[0].residual).all()


def test_at_rest_the_offsets_are_the_paper_s_on_a_curved_flow():
    """h_k = 0 for all windows, that is d_k = -s w_k g_k, seen by the residual of the undamped equation."""
    z0 = normal(3, 3, 4, 4, seed=7)
    exactly = {"rule": "anchored", "gradient": "windowed", "scale": 4.0, "iterations": 400}
    residuals = [each.residual for each in solve(CurvedFlow(), torch.sigmoid, CurvedEnergy(), z0, **exactly)]
    assert (residuals[-2] < 1e-4 * residuals[0]).all()


def test_a_sample_in_a_batch_does_what_it_does_by_itself():
    z0 = normal(3, 3, 4, 4, seed=7)
    settings = {"rule": "anchored", "scale": 9.0, "iterations": 15}
    together = list(solve(CurvedFlow(), torch.sigmoid, CurvedEnergy(), z0, **settings))
    for sample in range(3):
        by_itself = solve(CurvedFlow(), torch.sigmoid, CurvedEnergy(), z0[sample : sample + 1], **settings)
        for a, b in zip(together, by_itself, strict=True):
            torch.testing.assert_close(a.latent[sample], b.latent[0], atol=1e-12, rtol=0)


def test_the_residual_is_in_the_unit_of_the_fixed_point_rule():
    settings = {"scale": 0.7, "iterations": 1, "gradient": "windowed"}
    first = [
        next(solve(CurvedFlow(), torch.sigmoid, CurvedEnergy(), normal(3, 3, 4, 4, seed=7), rule=rule, **settings))
        for rule in ("anchored", "fixed_point")
    ]
    torch.testing.assert_close(first[0].residual, first[1].residual)


def test_without_a_last_offset_the_last_window_stays_unguided():
    flow, z0 = CurvedFlow(), normal(2, 3, 4, 4, seed=7)
    iterates = solve(
        flow, torch.sigmoid, CurvedEnergy(), z0, rule="anchored", scale=4.0, iterations=5, last_offset=False
    )
    energies = [each.energy for each in iterates]
    assert all(each.isfinite().all() for each in energies) and (energies[-1] < energies[0]).all()


def test_a_strength_means_the_same_for_a_latent_of_any_size():
    """For a picture that is twice as large each way, of as many times as many numbers: energy and |d|^2 per number."""
    small, large = torch.zeros(1, 4, 16, 16), torch.zeros(1, 4, 32, 32)
    assert Anchored.scale_for(1.0, large) == 4 * Anchored.scale_for(1.0, small)
    assert Anchored.scale_for(2.0, large) == 2 * Anchored.scale_for(1.0, large)


class TestDescent:
    def test_a_long_direction_is_shortened_to_the_radius_in_the_latent_s_unit(self):
        latent = torch.zeros(1, 4, 32, 32)
        assert unit(latent) == 0.5
        h = torch.stack([torch.full((4, 32, 32), 3.0), torch.full((4, 32, 32), 1e-4)])[None]
        step = Descent(unit(latent))(h)
        torch.testing.assert_close(step[0, 0].norm(), torch.tensor(RADIUS * 0.5))
        torch.testing.assert_close(step[0, 1], -RADIUS * 0.5**2 * h[0, 1])

    def test_a_step_that_turns_back_is_shorter_for_that_sample_alone(self):
        descend, ahead = Descent(1.0), torch.full((2, 1, 8), 0.01)
        turned = ahead * torch.tensor([1.0, -1.0]).view(2, 1, 1)
        first, second, third = (descend(h) for h in (ahead, turned, turned))
        torch.testing.assert_close(first, -RADIUS * ahead)
        torch.testing.assert_close(second[0], -RADIUS * ahead[0])
        # momentum: (0.25 - 0.5) / (1 - 0.25) of the step
        torch.testing.assert_close(second[1], RADIUS * ahead[1] / 3)
        # 0.125, -0.25 and 0.5 of 0.6 of it, over 1 - 0.125, for the one; for the other all of them, the last by 1.1
        torch.testing.assert_close(third[1], -RADIUS * ahead[1] * (0.125 - 0.25 - 0.5 * 0.6) / 0.875)
        torch.testing.assert_close(third[0], -RADIUS * ahead[0] * (0.125 + 0.25 + 0.5 * 1.1) / 0.875)

    def test_a_sample_at_rest_stays(self):
        descend = Descent(1.0)
        for _ in range(3):
            assert torch.equal(descend(torch.zeros(2, 3, 8)), torch.zeros(2, 3, 8))
