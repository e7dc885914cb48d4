"""What residuals say: when an iteration counts as diverging, and the slope without the noise of views."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.interfaces import Observation
from rectifid_core.solver.convergence import settled
from rectifid_core.solver.iterate import Residuals
from tests.helpers.worlds import normal

NOTHING = Observation(torch.zeros(1), torch.zeros(1))


def iterate(*norms, latent=1.0):
    """The iterate after residuals of these norms."""
    residuals = Residuals()
    for norm in norms:
        residuals.append([torch.tensor([[norm]], dtype=torch.float64)])
    return residuals.iterate(
        len(norms) - 1, torch.full((1, 1), latent).double(), torch.zeros(1), NOTHING, followed=True
    )


@pytest.mark.parametrize(
    ("norms", "diverging"),
    [
        ((1.0, 2.0, 3.0), False),
        ((1.0, 2.0, 3.0, 4.0), True),
        ((1.0, 1.01, 1.02, 1.03), True),
        ((1.0, 1.0005, 1.001, 1.0015), False),
        ((5.0, 1.0, 2.0, 3.0, 4.0), False),
        ((3.5, 1.0, 2.0, 3.0, 4.0), True),
        ((1.0, 2.0, 3.0, 3.0), False),
        ((2.0, 3.0, 2.5, 3.0, 4.0), False),
    ],
)
def test_it_diverges_when_it_has_grown_three_times_in_a_row_beyond_the_first(norms, diverging):
    assert iterate(*norms).diverging.tolist() == [diverging]


def slopes(each):
    """Of one sample, after each of these h, ``(D,)``, whose weight is 2."""
    residuals, found = Residuals([2.0]), []
    for h in each:
        residuals.append([2.0 * h.view(1, 4, 16, 16)])
        found.append(residuals.iterate(0, torch.zeros(1, 1), torch.zeros(1), NOTHING, followed=True).slope.item())
    return found


def test_the_slope_is_the_norm_of_h_over_the_first_while_it_falls():
    h = normal(1024)
    found = slopes([h * 0.8**n for n in range(30)])
    assert found == pytest.approx([0.8**n for n in range(30)])


@pytest.mark.parametrize("pull", [0.0, 0.05, 0.5])
def test_the_slope_at_rest_is_what_is_behind_the_noise(pull):
    """The first is noiseless, and 1 long; later ones have a noise of this length, too, and so much of the first."""
    steady = normal(1024)
    found = slopes([steady, *(pull * steady + normal(1024, seed=n + 1) for n in range(60))])
    assert 0.9 < found[5] < 1.3, "too few yet to tell"
    assert sum(found[21:]) / 40 == pytest.approx(pull, abs=0.15)


def test_it_has_settled_at_the_tolerance():
    residuals = Residuals([1.0])
    residuals.append([torch.tensor([[0.3]], dtype=torch.float64)])
    each = residuals.iterate(0, torch.zeros(1, 1), torch.zeros(1), NOTHING, followed=True)
    assert settled(each, 1.01) and not settled(each, 0.99), "it is as steep as at first"


def test_a_rule_that_does_not_settle_has_no_slope():
    assert iterate(1.0).slope.isnan().all() and not settled(iterate(1.0))


def test_noise_is_taken_out_of_the_slope_once_ten_updates_are_known():
    """The same pull in each, and noise at right angles to that of all others."""
    pull, noise = torch.ones(1, 16, dtype=torch.float64), 3 * torch.eye(16, dtype=torch.float64)
    residuals, slopes = Residuals([1.0]), []
    for number in range(12):
        residuals.append([pull * 0.1 + noise[number][None]])
        observed = Observation(torch.zeros(1), torch.zeros(1))
        seen = residuals.iterate(number, pull, pull, observed, followed=True)
        slopes.append(seen.slope.item() * residuals._first_slope.item())
    assert all(slope > 2.9 for slope in slopes[1:9]), "before that it is the update's own norm"
    assert all(slope < 1.5 for slope in slopes[9:]), slopes
