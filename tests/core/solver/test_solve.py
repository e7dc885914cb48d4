"""The solver on a curved flow: the published rule, two ways to one gradient, independence, cost, errors."""

from __future__ import annotations

import weakref
from dataclasses import astuple

import pytest
import torch

from rectifid_core.interfaces import Observation
from rectifid_core.solver.best import Best
from rectifid_core.solver.chains import NonFiniteGradientError
from rectifid_core.solver.gradient import GRADIENTS, full, windowed
from rectifid_core.solver.iterate import Iterate
from rectifid_core.solver.rules import RULES
from rectifid_core.solver.solve import solve
from tests.helpers.worlds import CurvedEnergy, CurvedFlow, MinimalFlow, normal

Z0 = normal(3, 3, 4, 4, seed=7)
EXACT = ("windowed", "full")  # gradients


def decode(z):
    return torch.sigmoid(z)


def run(flow=None, z0=Z0, decode=decode, energy=None, **settings):
    return list(solve(flow or CurvedFlow(), decode, energy or CurvedEnergy(), z0, **settings))


def as_published(flow, z0, scale, iterations, fully_anchored=False):
    """The published update for one image, restated: z_K of each iterate.

    A parameter has a row for each window.  While the windows run, row k only listens at z_k: its value cancels, and
    its gradient is g_k.  Then row k holds the plain end of window k, and an SGD step moves it from there.  The next run
    adds to the guided end that displacement, times the window's weight, and the change of the plain end.  For the
    2-rectified flow the code adds no such change, and starts from the plain end of the run before.
    """
    rows = len(flow)
    probe = torch.nn.Parameter(torch.zeros(rows, *z0.shape[1:], dtype=z0.dtype))
    guided_end, plain_end = torch.zeros_like(probe.data), torch.zeros_like(probe.data)
    descent = torch.optim.SGD([probe], lr=scale)
    ends = []
    for iteration in range(iterations + 1):
        z = z0 + probe[:1] - probe[:1].detach()
        for k in range(rows):
            z = flow.step(k, z)
            if iteration == 0:
                for memory in (probe.data, guided_end, plain_end):
                    memory[k] = z[0].detach()
            if k + 1 < rows:
                z = z + probe[k + 1 : k + 2] - probe[k + 1 : k + 2].detach()
            plain = z[0].detach()
            if fully_anchored:
                z = z + probe[k].detach() - z.detach()
                z = z + guided_end[k] - plain_end[k]
            else:
                z = z + guided_end[k] - z.detach()
                z = z + plain - plain_end[k]
                z = z + flow.weight(k) * (probe[k].detach() - plain_end[k])
            guided_end[k], plain_end[k], probe.data[k] = z[0].detach(), plain, plain
        ends.append(z.detach())
        descent.zero_grad()
        CurvedEnergy()(decode(z), iteration).energy.sum().backward()
        lengths = probe.grad.flatten(1).norm(dim=1).clamp(min=1)
        probe.grad /= lengths.view(-1, 1, 1, 1)
        descent.step()
    return ends


class Unweighted(CurvedFlow):
    """A 2-rectified flow: every window counts the same."""

    def weight(self, k):
        return 1.0


@pytest.mark.parametrize("gradient", EXACT)
@pytest.mark.parametrize(("rule", "flow"), [("accumulated", CurvedFlow()), ("fully_anchored", Unweighted())])
def test_it_makes_the_published_update(rule, flow, gradient):
    _, _, _, g = windowed(flow, decode, CurvedEnergy(), Z0, [torch.zeros_like(Z0)] * 4, 0)
    lengths = torch.stack([each.flatten(1).norm(dim=1) for each in g[:-1]])
    assert (lengths > 1).any() and (lengths < 1).any()  # else the clip would not be tested

    iterates = run(flow, rule=rule, scale=0.7, iterations=12, gradient=gradient)

    assert not torch.allclose(iterates[-1].latent, iterates[0].latent, atol=0.1)
    for sample in range(len(Z0)):
        published = as_published(flow, Z0[sample : sample + 1], 0.7, 12, rule == "fully_anchored")
        for iterate, latent in zip(iterates, published, strict=True):
            torch.testing.assert_close(iterate.latent[sample : sample + 1], latent, atol=1e-10, rtol=0)


def test_gradients_agree_with_each_other_and_with_finite_differences():
    flow, offsets = CurvedFlow(), list(0.3 * normal(4, *Z0.shape, seed=8))
    *observed, by_window = windowed(flow, decode, CurvedEnergy(), Z0, offsets, 0)
    *also_observed, at_once = full(flow, decode, CurvedEnergy(), Z0, offsets, 0)
    torch.testing.assert_close(by_window, at_once, atol=1e-10, rtol=0)
    torch.testing.assert_close(observed[0], also_observed[0], atol=1e-12, rtol=0)
    with torch.no_grad():
        direction, h = normal(*Z0.shape, seed=9), 1e-5
        for k, (z, g) in enumerate(zip(observed[0], by_window, strict=True)):
            energies = []
            for end in (z + h * direction, z - h * direction):
                for later in range(k, 4):
                    end = flow.step(later, end) + offsets[later]
                energies.append(CurvedEnergy()(decode(end), 0).energy)
            slope = (energies[0] - energies[1]) / (2 * h)
            torch.testing.assert_close((g * direction).flatten(1).sum(dim=1), slope, atol=1e-7, rtol=0)


@pytest.mark.parametrize("rule", RULES)
def test_both_exact_gradients_give_the_same_iterates(rule):
    windowed, full = (run(rule=rule, scale=0.3, gradient=gradient) for gradient in ("windowed", "full"))
    for a, b in zip(windowed, full, strict=True):
        torch.testing.assert_close(astuple(a), astuple(b), atol=1e-10, rtol=0, equal_nan=True)


@pytest.mark.parametrize("rule", RULES)
def test_samples_do_not_influence_each_other(rule):
    together = run(rule=rule, scale=0.3, iterations=6)
    for sample in range(len(Z0)):
        single = run(rule=rule, scale=0.3, iterations=6, z0=Z0[sample : sample + 1])
        for a, b in zip(together, single, strict=True):
            mine = [x[sample : sample + 1] if isinstance(x, torch.Tensor) else x for x in astuple(a)]
            torch.testing.assert_close(mine, list(astuple(b)), atol=1e-10, rtol=0, equal_nan=True)


def test_iterates_are_numbered_and_the_first_is_the_unguided_flow():
    flow, iterates = CurvedFlow(), run(iterations=5)
    z = Z0
    with torch.no_grad():
        for k in range(4):
            z = flow.step(k, z)
    assert [iterate.number for iterate in iterates] == [0, 1, 2, 3, 4, 5]
    assert torch.equal(iterates[0].latent, z) and torch.equal(iterates[0].image, decode(z))
    assert iterates[0].contraction.isnan().all() and not iterates[0].residual.isnan().any()
    assert iterates[-1].residual.isnan().all() and iterates[-1].contraction.isnan().all()
    torch.testing.assert_close(iterates[3].contraction, iterates[3].residual / iterates[2].residual)
    assert (iterates[-1].energy < iterates[0].energy).all()


class NoAutograd(CurvedFlow):
    def step(self, k, z):
        assert not torch.is_grad_enabled()
        return super().step(k, z)


def test_zero_iterations_run_without_autograd():
    (only,) = run(NoAutograd(), iterations=0)
    assert torch.equal(only.latent, run(iterations=1)[0].latent)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("rule", RULES)
def test_no_graph_or_gradient_outlives_an_iterate(rule, gradient):
    """Between iterates: no graph alive, the caller's grad mode as it was, no gradient in a parameter."""
    alive = []

    class Watched(CurvedFlow):
        def step(self, k, z):
            end = super().step(k, z)
            alive.append(weakref.ref(end))
            return end

    flow = Watched()
    for grad_mode in (True, False):
        with torch.set_grad_enabled(grad_mode):
            for iterate in solve(flow, decode, CurvedEnergy(), Z0, rule=rule, gradient=gradient, iterations=3):
                assert torch.is_grad_enabled() == grad_mode
                assert not any(end() is not None and end().requires_grad for end in alive)
                assert not any(x.requires_grad for x in astuple(iterate) if isinstance(x, torch.Tensor))
    assert flow.mix.grad is None


def test_saturated_clip_is_not_called_diverging():
    def loud(image, iteration):
        observation = CurvedEnergy()(image, iteration)
        return Observation(1000 * observation.energy, observation.similarity)

    iterates = run(rule="accumulated", scale=0.1, iterations=10, energy=loud)
    torch.testing.assert_close(iterates[5].contraction, torch.ones(3, dtype=torch.float64))
    assert not any(iterate.diverging.any() for iterate in iterates)


def test_energy_is_told_the_iteration():
    numbers = []

    def energy(image, iteration):
        numbers.append(iteration)
        return CurvedEnergy()(image, iteration)

    run(energy=energy, iterations=3)
    assert numbers == [0, 1, 2, 3]


@pytest.mark.parametrize("gradient", EXACT)
def test_a_non_finite_gradient_names_its_window(gradient):
    class Broken(CurvedFlow):
        def step(self, k, z):
            return super().step(k, z) + ((0 * z).sqrt() if k == 1 else 0)

    with pytest.raises(NonFiniteGradientError, match="iteration 0.*step 2"):
        run(Broken(), gradient=gradient)
    with pytest.raises(NonFiniteGradientError, match="decoder or the energy"):
        run(decode=lambda z: decode(z) + (0 * z).sqrt(), gradient=gradient)


def half(z):
    """A network's float16 on the way to the image: its gradient is rounded to a range of 6e-8 to 65504."""
    return decode((z.half() * 2.0**-14).double() * 2.0**10 * 2.0**4)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_loss_scale_keeps_small_gradients(gradient):
    def tiny(image, number):
        observation = CurvedEnergy()(image, number)
        return Observation(1e-9 * observation.energy, observation.similarity)

    states = {"gradient": gradient, "scale": 1e9, "iterations": 3, "clip": False}
    exact = run(energy=tiny, **states)
    assert torch.equal(run(energy=tiny, loss_scale=2.0**12, **states)[-1].latent, exact[-1].latent)
    moved = (exact[-1].latent - exact[0].latent).norm()
    lost, saved = (run(decode=half, energy=tiny, loss_scale=s, **states)[-1].latent for s in (1.0, 2.0**12))
    assert (lost - exact[-1].latent).norm() > 0.3 * moved
    assert (saved - exact[-1].latent).norm() < 0.05 * moved


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_loss_scale_that_overflows_is_halved_and_the_iterate_repeated(gradient):
    expected, iterates = (run(decode=half, gradient=gradient, iterations=3, loss_scale=s) for s in (1.0, 2.0**40))
    assert [each.number for each in iterates] == [0, 1, 2, 3]
    torch.testing.assert_close(iterates[-1].latent, expected[-1].latent, rtol=0, atol=2e-2)
    with pytest.raises(NonFiniteGradientError):
        run(decode=lambda z: decode(z) + (0 * z).sqrt(), gradient=gradient, loss_scale=8.0)


def test_the_error_names_what_cuts_the_gradient():
    class Cut(CurvedFlow):
        def step(self, k, z):
            return super().step(k, z.detach()).detach() if k == 2 else super().step(k, z)

    with pytest.raises(RuntimeError, match="step 3"):
        run(Cut(), gradient="windowed")
    for gradient in GRADIENTS:
        with pytest.raises(RuntimeError, match="decoder"):
            run(decode=lambda z: decode(z.detach()), gradient=gradient)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"rule": "magic"},
            "accumulated, .*unanchored",
        ),
        ({"gradient": "magic"}, "windowed, full, straight"),
        ({"iterations": -1}, "0 or more"),
        ({"damping": 0.0}, "above 0"),
        ({"damping": 1.5}, "at most 1"),
        ({"flow": MinimalFlow(), "rule": "unanchored"}, "unanchored"),
        ({"flow": MinimalFlow(), "last_offset": False}, "more steps"),
        ({"rule": "fully_anchored", "last_offset": False}, "last offset"),
        ({"loss_scale": 0.5}, "loss scale"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        run(**settings)


def test_one_window_without_last_offset_is_fine_for_noise():
    assert len(run(MinimalFlow(), rule="noise", last_offset=False, iterations=2)) == 3


def test_half_precision_norms_do_not_overflow():
    def energy(image, iteration):
        return Observation(300 * image.float().square().flatten(1).sum(dim=1), torch.zeros(1))

    z0 = torch.full((1, 3, 64, 64), 8.0, dtype=torch.half)  # the gradient, 4800 everywhere, has a norm of 532 000
    first = next(solve(MinimalFlow(), lambda z: z, energy, z0, rule="accumulated", scale=1.0))
    torch.testing.assert_close(first.residual, torch.ones(1), atol=1e-2, rtol=0)


def test_the_best_is_chosen_for_each_sample():
    def iterate(number, *similarity):
        image = torch.full((2, 3, 1, 1), float(number))
        nothing = torch.zeros(2)
        found = torch.ones(2, dtype=torch.bool)
        measures = (nothing, torch.tensor(similarity), nothing, nothing, nothing, nothing)
        return Iterate(number, image + 10, image, *measures, found)

    best = Best()
    for each in (iterate(0, 0.1, 0.5), iterate(1, 0.7, 0.4), iterate(2, 0.3, 0.6), iterate(3, 0.6, 0.6)):
        best.update(each)
    assert best.number.tolist() == [1, 2]
    assert best.similarity.tolist() == pytest.approx([0.7, 0.6])
    assert best.image[:, 0, 0, 0].tolist() == [1, 2]
    assert best.latent[:, 0, 0, 0].tolist() == [11, 12]


def test_divergence_is_measured_from_the_first_residual_that_is_not_zero():
    """Its residual rises from 0, falls, and then grows a little: that is not divergence."""

    pull = [0.0, 10.0, 3.0, 3.1, 3.2, 3.3, 11.0, 12.0, 13.0]

    def energy(image, iteration):
        energy = pull[min(iteration, len(pull) - 1)] * image.flatten(1).sum(dim=1)
        return Observation(energy, -energy.detach())

    settings = {"rule": "accumulated", "scale": 1.0, "clip": False}
    iterates = run(MinimalFlow(), decode=lambda z: z, energy=energy, iterations=len(pull), **settings)
    assert [bool(iterate.diverging.any()) for iterate in iterates] == [False] * 6 + [True] * 4
