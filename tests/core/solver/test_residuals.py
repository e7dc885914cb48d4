"""What residuals say: when an iteration counts as diverging, and the tolerance at which it has settled."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.interfaces import Observation
from rectifid_core.solver.convergence import settled
from rectifid_core.solver.iterate import Residuals

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


@pytest.mark.parametrize("length", [0.01, 1.0, 100.0])
def test_it_has_settled_at_a_thousandth_of_the_latent(length):
    assert settled(iterate(0.00099 * length, latent=length))
    assert not settled(iterate(0.00101 * length, latent=length))
