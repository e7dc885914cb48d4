"""When a fixed-point iteration counts as converged, and how far it may then be from its fixed point."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.solver.batched import norm
from rectifid_core.solver.convergence import PATIENCE, settled, stuck
from rectifid_core.solver.solve import solve
from tests.helpers.worlds import SIZE, MinimalFlow, QuadraticEnergy, covariance, flat_image, normal

HESSIAN, CENTRE = covariance(4, 0.2, 1.0), normal(SIZE, seed=5)
Z0 = normal(2, SIZE, seed=6)
EYE = torch.eye(SIZE, dtype=torch.float64)
SHIFT = MinimalFlow(lambda k, z: z + 1, windows=2)


def run(**settings):
    return list(solve(SHIFT, flat_image, QuadraticEnergy(HESSIAN, CENTRE), Z0, **settings))


@pytest.mark.parametrize(
    ("rule", "damping", "soon"),
    [
        ("fixed_point", 0.5, True),
        ("fixed_point", 0.02, False),
        ("anchored", 0.5, True),
    ],
)
def test_the_distance_to_the_fixed_point_is_at_most_the_residual(rule, damping, soon):
    """Both offsets are -s H (z_K - c), so that z_K (I + 2 s H) = z_2 + 2 s H c at the fixed point."""
    scale = 0.45
    fixed = torch.linalg.solve(EYE + 2 * scale * HESSIAN, (Z0 + 2 + 2 * scale * CENTRE @ HESSIAN).T).T
    iterates = run(rule=rule, scale=scale, damping=damping, iterations=60)
    for each in iterates[:-1]:
        # the offsets stay alike, so that they are off by half of what their sum is, each
        left = norm(each.latent - fixed) / 2**0.5
        assert (left <= each.residual + 1e-12).all()
    assert settled(iterates[50], 0.01) == soon
    assert not settled(iterates[0]) and not settled(iterates[-1]), "the last iterate has no residual"


def test_it_has_not_settled_while_one_sample_moves():
    iterate = run(rule="fixed_point", scale=0.45, iterations=60)[50]
    assert settled(iterate)
    iterate.slope[1] = 1.0
    assert not settled(iterate)


@pytest.mark.parametrize(
    ("rises", "said"),
    [
        ([0.1] * 11, True),
        ([-0.2, 0.1, 0.2, 0.3, 0.5, 0.5, 0.6, 0.66, 0.7, 0.73, 0.75], True),
        ([-0.2, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.88, 0.9], False),
        ([0.9] * 11, False),
        ([0.05 * n for n in range(11)], False),
        ([0.8 - 0.05 * n for n in range(11)], True),
        ([float("nan")] * 11, False),
    ],
    ids=["flat", "flattens low", "arrives", "alike from the start", "slow but steady", "falls", "none"],
)
def test_a_sample_is_stuck_where_it_flattens_out_unlike(rises, said):
    assert len(rises) == PATIENCE + 1
    assert stuck([torch.tensor([each, 0.3 + 0.06 * n]) for n, each in enumerate(rises)]).tolist() == [said, False]


@pytest.mark.parametrize("rule", ["anchored", "fixed_point"])
def test_at_scale_0_it_rests_from_the_start(rule):
    iterates = run(rule=rule, scale=0.0, iterations=2)
    assert all(settled(iterate) for iterate in iterates[:-1])
    assert torch.equal(iterates[0].latent, iterates[-1].latent)
