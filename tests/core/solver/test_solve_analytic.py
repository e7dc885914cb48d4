"""Gaussian data and a quadratic energy: fixed points, rates and trajectories are known in closed form."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.solver.solve import solve
from tests.helpers.worlds import SIZE, GaussianFlow, QuadraticEnergy, covariance, flat_image, normal

FLOWS = [(1, True), (4, True), (4, False)]
HESSIAN, CENTRE = covariance(4, 0.2, 1.0), normal(SIZE, seed=5)
Z0 = normal(2, SIZE, seed=6)
EYE = torch.eye(SIZE, dtype=torch.float64)


def run(flow, **settings):
    return list(solve(flow, flat_image, QuadraticEnergy(HESSIAN, CENTRE), Z0, clip=False, **settings))


def stacked(flow):
    """d -> s w g(d) = s (matrix d + vector) for all windows' offsets in one vector; s = 1."""
    rows = torch.cat([flow.weight(k) * flow.downstream(k).T @ HESSIAN for k in range(len(flow))])
    columns = torch.cat([flow.downstream(k + 1) for k in range(len(flow))], dim=1)
    return rows @ columns, (flow.end(Z0) - CENTRE) @ rows.T, columns


def spectral_radius(matrix):
    return torch.linalg.eigvals(matrix).abs().max().item()


def test_the_gaussian_flow_has_its_closed_form():
    flow = GaussianFlow(1, exact=True)
    matrix, shift = flow.affine[0]
    torch.testing.assert_close(matrix @ matrix.T, flow.covariance)  # N(0, I) becomes N(m, S)
    torch.testing.assert_close(shift, flow.mean)
    many = GaussianFlow(4000, exact=False)  # Euler's limit is the exact map: velocity and map agree
    torch.testing.assert_close(many.end(Z0), flow.end(Z0), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("windows", "exact"), FLOWS)
@pytest.mark.parametrize("weight", [1.0, 0.7])
def test_the_fixed_point_iteration_converges_at_the_predicted_rate(windows, exact, weight):
    flow = GaussianFlow(windows, exact, weight)
    matrix, vector, columns = stacked(flow)
    lipschitz = torch.linalg.matrix_norm(matrix, 2).item()
    scale = 0.9 / lipschitz
    fixed = torch.linalg.solve(torch.eye(len(matrix), dtype=torch.float64) + scale * matrix, -scale * vector.T).T

    iterates = run(flow, rule="fixed_point", damping=1.0, scale=scale, iterations=150)

    expected = flow.end(Z0) + fixed @ columns.T
    torch.testing.assert_close(iterates[-1].latent, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(iterates[0].residual, scale * vector.norm(dim=1))
    for iterate in iterates[1:-1]:
        assert (iterate.contraction <= scale * lipschitz + 1e-6).all()
        assert not iterate.diverging.any()
    rate = spectral_radius(scale * matrix)
    torch.testing.assert_close(
        iterates[-50].contraction, torch.full((2,), rate, dtype=torch.float64), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize(("windows", "exact"), FLOWS)
def test_damping_changes_the_rate_and_not_the_fixed_point(windows, exact):
    flow = GaussianFlow(windows, exact)
    matrix, vector, columns = stacked(flow)
    scale = 1.2 / spectral_radius(matrix)  # diverges undamped
    identity = torch.eye(len(matrix), dtype=torch.float64)
    fixed = torch.linalg.solve(identity + scale * matrix, -scale * vector.T).T

    iterates = run(flow, rule="fixed_point", damping=0.5, scale=scale, iterations=100)

    torch.testing.assert_close(iterates[-1].latent, flow.end(Z0) + fixed @ columns.T, atol=1e-5, rtol=0)
    rate = spectral_radius(0.5 * identity - 0.5 * scale * matrix)
    for iterate in iterates[20:30]:
        assert (iterate.contraction <= rate + 1e-3).all()
    assert not iterates[-1].diverging.any()


@pytest.mark.parametrize(("windows", "exact"), FLOWS)
def test_divergence_is_reported(windows, exact):
    flow = GaussianFlow(windows, exact)
    matrix, _, _ = stacked(flow)
    scale = 1.2 / spectral_radius(matrix)
    assert scale * torch.linalg.matrix_norm(matrix, 2) > 1

    iterates = run(flow, rule="fixed_point", damping=1.0, scale=scale, iterations=60)

    assert iterates[-2].diverging.all() and iterates[-1].diverging.all()
    torch.testing.assert_close(iterates[-2].contraction, torch.full((2,), 1.2, dtype=torch.float64), rtol=1e-3, atol=0)


def test_anchored_fixed_point_is_the_proximal_point():
    """One exact window with g taken at its end would give min E(z) + |z - z_1|^2 / (2 s); with S = I it does."""
    flow = GaussianFlow(1, exact=True)
    flow.affine = [(EYE, flow.mean)]
    iterates = run(flow, rule="fixed_point", damping=1.0, scale=0.8, iterations=150)
    z = iterates[-1].latent
    torch.testing.assert_close(
        (z - CENTRE) @ HESSIAN + (z - flow.end(Z0)) / 0.8, torch.zeros_like(z), atol=1e-9, rtol=0
    )


@pytest.mark.parametrize(("windows", "exact"), FLOWS)
@pytest.mark.parametrize("weight", [1.0, 0.7])
def test_noise_descends_on_the_initial_noise_whatever_the_weights_of_windows(windows, exact, weight):
    flow = GaussianFlow(windows, exact, weight)
    p = flow.downstream(0)
    slope = 0.5 * p.T @ HESSIAN @ p
    lowest = torch.linalg.solve(p, (CENTRE - flow.end(torch.zeros_like(Z0))).T).T
    for iterate in run(flow, rule="noise", scale=0.5, iterations=12):
        noise = lowest + (Z0 - lowest) @ torch.linalg.matrix_power(EYE - slope, iterate.number)
        torch.testing.assert_close(iterate.latent, flow.end(noise))
        if iterate.number < 12:
            torch.testing.assert_close(iterate.residual, ((noise - lowest) @ slope).norm(dim=1))


def test_noise_is_clipped_to_a_norm_of_one():
    flow = GaussianFlow(4, exact=True)
    far = 10 * Z0
    iterates = list(
        solve(flow, flat_image, QuadraticEnergy(HESSIAN, CENTRE), far, rule="noise", scale=0.3, iterations=1)
    )
    torch.testing.assert_close(iterates[0].residual, torch.full((2,), 0.3, dtype=torch.float64))


@pytest.mark.parametrize(("windows", "exact"), FLOWS)
@pytest.mark.parametrize("gradient", ["windowed", "full"])
def test_unanchored_follows_its_affine_recursion(windows, exact, gradient):
    """All states in one vector, Z <- T Z + t, with T and t from the closed-form velocity."""
    flow, scale, dt = GaussianFlow(windows, exact), 0.4, 1 / windows
    t_matrix = torch.zeros(windows * SIZE, windows * SIZE, dtype=torch.float64)
    t_vector = torch.zeros(2, windows * SIZE, dtype=torch.float64)
    states, z = [], Z0
    for k in range(windows):
        z = flow.step(k, z)
        states.append(z)
        velocity, shift = flow.velocity(flow.sigmas[k + 1])
        pull = scale * flow.downstream(k).T @ HESSIAN
        for later in range(k, windows):  # z_(k+1) enters z_(k+2) and so on, of the same iterate
            rows = slice(later * SIZE, (later + 1) * SIZE)
            t_matrix[rows, k * SIZE : (k + 1) * SIZE] += dt * velocity
            t_matrix[rows, -SIZE:] -= pull
            t_vector[:, rows] += dt * shift + pull @ CENTRE
    t_vector += Z0.repeat(1, windows)

    stack = torch.cat(states, dim=1)
    for iterate in run(flow, rule="unanchored", scale=scale, iterations=8, gradient=gradient):
        torch.testing.assert_close(iterate.latent, stack[:, -SIZE:])
        new = stack @ t_matrix.T + t_vector
        if iterate.number < 8:
            torch.testing.assert_close(iterate.residual, (new - stack).norm(dim=1))
        stack = new


def test_without_a_last_offset_the_last_window_is_unguided():
    flow = GaussianFlow(4, exact=True)
    matrix, vector, columns = (each[..., : 3 * SIZE] for each in stacked(flow))
    matrix, vector, scale = matrix[: 3 * SIZE], vector[:, : 3 * SIZE], 0.3
    fixed = torch.linalg.solve(torch.eye(3 * SIZE, dtype=torch.float64) + scale * matrix, -scale * vector.T).T
    iterates = run(flow, rule="fixed_point", damping=0.5, scale=scale, iterations=120, last_offset=False)
    torch.testing.assert_close(iterates[-1].latent, flow.end(Z0) + fixed @ columns.T, atol=1e-9, rtol=0)
