"""The adaptive damping: where it changes nothing, where it makes the iteration converge, and its bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rectifid_core.solver.damping import AdaptiveDamping
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


def run(flow, rule, **settings):
    return list(solve(flow, flat_image, QuadraticEnergy(HESSIAN, CENTRE), Z0, rule=rule, **settings))


def slopes(flow):
    """The matrix M of G(d) = -s (M d + ...), all windows' offsets in one vector, and M's columns in the end state."""
    rows = torch.cat([flow.downstream(k).T @ HESSIAN for k in range(len(flow))])
    columns = torch.cat([flow.downstream(k + 1) for k in range(len(flow))], dim=1)
    return rows @ columns, rows, columns


def spectral_norm(matrix):
    return torch.linalg.matrix_norm(matrix, 2).item()


@pytest.mark.parametrize("damping", [0.5, 0.3])
def test_a_contraction_is_damped_as_given_to_the_bit(damping):
    flow = GaussianFlow(4, exact=True)
    settings = {"scale": 0.99 / spectral_norm(slopes(flow)[0]), "damping": damping, "iterations": 30}
    for plain, adaptive in zip(run(flow, "fixed_point", **settings), run(flow, "adaptive", **settings), strict=True):
        assert torch.equal(plain.latent, adaptive.latent)
        assert torch.equal(plain.residual.nan_to_num(), adaptive.residual.nan_to_num())


@pytest.mark.parametrize("stiffness", [3.0, 10.0, 100.0])
def test_it_converges_where_the_given_damping_diverges(stiffness):
    flow = GaussianFlow(4, exact=True)
    matrix, rows, columns = slopes(flow)
    scale = stiffness / torch.linalg.eigvals(matrix).abs().max().item()
    eye = torch.eye(len(matrix), dtype=torch.float64)
    fixed = torch.linalg.solve(eye + scale * matrix, -scale * ((flow.end(Z0) - CENTRE) @ rows.T).T).T

    adaptive = run(flow, "adaptive", scale=scale, iterations=300)
    plain = run(flow, "fixed_point", scale=scale, iterations=51)

    torch.testing.assert_close(adaptive[-1].latent, flow.end(Z0) + fixed @ columns.T, atol=1e-3, rtol=0)
    assert (adaptive[-2].residual < 1e-3 * adaptive[0].residual).all()
    assert (adaptive[20].residual < 0.1 * plain[50].residual).all()


def test_twenty_iterations_on_a_curved_flow_do_more_than_fifty_without_it():
    def residuals(rule):
        z0 = normal(3, 3, 4, 4, seed=7)
        return [each.residual for each in solve(CurvedFlow(), torch.sigmoid, CurvedEnergy(), z0, rule=rule, **settings)]

    settings = {"scale": 40.0, "iterations": 51}
    plain, adaptive = residuals("fixed_point"), residuals("adaptive")
    assert (adaptive[20] < 0.5 * plain[50]).all()


def test_it_never_falls_below_what_the_steepest_slope_needs():
    matrix = covariance(1, 0.5, 40.0)
    adapt, d = AdaptiveDamping(0.5), normal(2, SIZE, seed=2)
    for _ in range(100):
        f = -d @ matrix
        a = adapt(d, f)
        assert (a >= 1 / 40 - 1e-12).all() and (a <= 0.5).all()
        d = d + a[:, None] * f
    assert (d.norm(dim=1) < 1e-2).all()


def test_a_step_that_overshoots_shortens_the_next_ten_and_is_forgotten_then():
    adapt = AdaptiveDamping(0.5)
    point, residual = torch.ones(2, 1, 3), torch.ones(2, 1, 3)
    assert adapt(point, residual).tolist() == [0.5, 0.5]
    turned = torch.tensor([-7.0, 0.5])  # the first sample's residual is turned; the second's shrinks
    point, residual = point + 0.5 * residual, turned[:, None, None] * residual
    for _ in range(10):
        torch.testing.assert_close(adapt(point, residual), torch.tensor([0.5 / (1 + 7), 0.5]))
        point = point + residual  # a residual that stays: no slope
    assert adapt(point, residual).tolist() == [0.5, 0.5]


def test_noisy_residuals_do_not_shrink_it_for_ever():
    """In 2000 dimensions, with noise as long as the residual where it comes to rest."""
    size = 2000
    slopes = torch.cat([torch.ones(size - 50), torch.logspace(0, 1.6, 50)]).double()
    target = normal(1, size, seed=1)
    adapt, d = AdaptiveDamping(0.5), torch.zeros(1, size, dtype=torch.float64)
    for n in range(150):
        f = slopes * (target - d) + 0.3 * normal(1, size, seed=100 + n)
        a = adapt(d, f)
        assert a.item() >= 0.2 / slopes.max()
        d = d + a[:, None] * f
    assert (d - target).norm() < 0.2 * target.norm()


def test_it_adapts_to_an_energy_that_starts_late():
    class Late(QuadraticEnergy):
        def __call__(self, image, iteration):
            observation = super().__call__(image, iteration)
            return replace(observation, energy=observation.energy * (iteration >= 12))

    energy, flow = Late(HESSIAN, CENTRE), GaussianFlow(4, exact=True)
    latents = [each.latent for each in solve(flow, flat_image, energy, Z0, rule="adaptive", scale=0.2, iterations=40)]
    assert torch.equal(latents[12], latents[0])
    settled = latents[-1] - latents[0]
    assert ((latents[20] - latents[0] - settled).norm(dim=1) < 0.1 * settled.norm(dim=1)).all()


def test_half_precision_stays_half_precision():
    def energy(image, iteration):
        return CurvedEnergy()(image.float(), iteration)

    z0 = normal(2, 3, 4, 4, seed=7).half()
    flow = CurvedFlow().half()
    iterates = list(solve(flow, torch.sigmoid, energy, z0, rule="adaptive", scale=40.0, iterations=3))
    assert all(each.latent.dtype == torch.half and each.latent.isfinite().all() for each in iterates)
