"""A gradient that does not come through is an error that says where it was cut."""

import pytest
import torch

from rectifid_core.interfaces import Observation
from rectifid_core.scope import EVERYWHERE, GuidanceScope
from rectifid_core.solver.gradient_checks import CutGradientError, check_chain, check_networks

EARLY = GuidanceScope((0.0, 0.5))


def observed(energy, **by_scope):
    return Observation(energy, energy.detach(), **by_scope)


def test_networks_in_the_graph_pass():
    z = torch.ones(2, requires_grad=True)
    image, energy = 2 * z, 3 * z
    check_networks(image, observed(energy))
    check_networks(image, observed(energy, by_scope={EVERYWHERE: energy, EARLY: None}))


def test_the_network_that_cuts_is_named():
    z = torch.ones(2, requires_grad=True)
    with pytest.raises(CutGradientError, match="decoder"):
        check_networks(z.detach(), observed(3 * z))
    with pytest.raises(CutGradientError, match="recogniser"):
        check_networks(2 * z, observed(z.detach()))
    with pytest.raises(CutGradientError, match="recogniser"):  # one of two, whose sum has a graph
        check_networks(2 * z, observed(3 * z, by_scope={EVERYWHERE: 3 * z, EARLY: z.detach()}))


def test_a_chain_that_comes_through_passes():
    check_chain([torch.tensor([0.0, 1e-30]), torch.tensor([1.0, 0.0])])
    check_chain([torch.zeros(2), torch.zeros(2)])  # an energy that has found its rest


@pytest.mark.parametrize(("cut", "where"), [(1, "last step"), (0, "1 before the last")])
def test_the_step_that_cuts_is_named(cut, where):
    gradients = [torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2)]
    for k in range(cut + 1):
        gradients[k] = torch.zeros(1, 2)
    with pytest.raises(CutGradientError, match=where):
        check_chain(gradients)
