"""A gradient that does not come through is an error that says where it was cut."""

import pytest
import torch

from rectifid_core.flows.sigmas import ConsistencyFlow, EulerFlow, StraightFlow
from rectifid_core.interfaces import CutGradientError, Observation
from rectifid_core.scope import EVERYWHERE, GuidanceScope
from rectifid_core.solver.gradient import StraightGradient, WindowedGradient
from rectifid_core.solver.gradient_checks import check_chain, check_networks
from tests.helpers.worlds import CurvedEnergy, CurvedFlow, normal

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
    check_chain([torch.tensor([0.0, 1e-5]), torch.tensor([1.0, 0.0])], 1)
    check_chain([torch.zeros(2), torch.zeros(2)], 1)  # an energy that has found its rest


@pytest.mark.parametrize("nothing", [0.0, 1e-7], ids=["zero", "rounding"])
@pytest.mark.parametrize(("cut", "where"), [(1, "step 5 of 5"), (0, "step 4 of 5")])
def test_the_step_that_cuts_is_named(cut, where, nothing):
    """Of a chain of the last two windows of five."""
    gradients = [torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2)]
    for k in range(cut + 1):
        gradients[k] = torch.full((1, 2), nothing)
    with pytest.raises(CutGradientError, match=where):
        check_chain(gradients, 5)


WINDOWS = 4
Z0 = normal(2, 3, 4, 4, seed=7)
EXACT = {count: WindowedGradient(count) for count in (0, 1, 3, None)}
SIGMAS = torch.tensor([1.0, 0.7, 0.45, 0.3, 0.0])


def differentiate(gradient, flow=None, decode=torch.sigmoid, energy=CurvedEnergy(), z0=Z0):  # noqa: B008
    return gradient(flow or CurvedFlow(WINDOWS), decode, energy, z0, [torch.zeros_like(z0)] * WINDOWS, 0)


@pytest.mark.parametrize("gradient", [*EXACT.values(), StraightGradient()])
def test_every_gradient_looks_whether_it_comes_through_decoder_and_energy(gradient):
    parameter = torch.ones((), dtype=torch.float64, requires_grad=True)  # whose graph hides that the state has none
    with pytest.raises(CutGradientError, match="decoder"):
        differentiate(gradient, decode=torch.no_grad()(torch.sigmoid))
    with pytest.raises(CutGradientError, match="recogniser"):
        differentiate(gradient, energy=torch.no_grad()(CurvedEnergy()))
    with pytest.raises(CutGradientError, match="decoder or the energy"):
        differentiate(gradient, decode=lambda z: parameter * z.detach())


def clean(x, sigma):
    """A network that tells the clean latent."""
    return torch.tanh(x) * (1.5 - sigma)


def clean_but_for_the_last(x, sigma):
    return clean(x, sigma).detach() if sigma == SIGMAS[3] else clean(x, sigma)


@pytest.mark.parametrize("gradient", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize(
    "flow_of",
    [
        lambda denoise: EulerFlow(denoise, SIGMAS, (1 + SIGMAS**2).sqrt()),
        lambda denoise: StraightFlow(denoise, SIGMAS, torch.ones(5), torch.tensor(0.01)),
        lambda denoise: ConsistencyFlow(denoise, SIGMAS, torch.ones(5), [None] * 4, lambda sigma, noise, x: x),
    ],
    ids=["euler", "straight", "consistency"],
)
def test_a_network_that_answers_without_autograd_in_the_last_step_is_found(gradient, flow_of):
    z0, energy = Z0.float(), CurvedEnergy()
    differentiate(gradient, flow_of(clean), energy=energy, z0=z0)
    with pytest.raises(CutGradientError, match="step 4 of 4"):
        differentiate(gradient, flow_of(clean_but_for_the_last), energy=energy, z0=z0)


@pytest.mark.parametrize("gradient", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("k", range(WINDOWS))
@pytest.mark.parametrize("trained", [False, True])
def test_any_step_that_hands_on_nothing_is_found(gradient, k, trained):
    class Cut(CurvedFlow):
        def step(self, number, z):
            return super().step(number, z.detach() if number == k else z)

    flow = Cut(WINDOWS).requires_grad_(trained)
    with pytest.raises(CutGradientError, match=rf"step {k + 1}( of 4)?"):
        differentiate(gradient, flow)
