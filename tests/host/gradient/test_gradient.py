"""The gradient through MODEL and VAE, as the solver gets it inside the host, is the right one."""

import pytest
import torch

from tests.helpers.finite_differences import slopes


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_it_agrees_with_finite_differences(job, brightness, look_inside, cfg):
    """Along the gradient, to 0.5 % in float32."""
    probe, measured = slopes()
    look_inside(probe)
    job.guide(energy=brightness, cfg=cfg)
    [(gradient, slope)] = measured
    assert gradient.norm() > 1e-3
    assert slope == pytest.approx(gradient.norm().item(), rel=5e-3)


def test_the_velocity_at_a_windows_end_is_that_at_the_next_ones_start(job, look_inside):
    velocities = []

    @torch.no_grad()
    def probe(flow, decode, energy, z0):
        sizes = flow._sigmas.diff()
        velocities.append((flow.end_displacement(0, z0) / sizes[0], (flow.step(1, z0) - z0) / sizes[1]))
        assert flow.end_displacement(len(flow) - 1, z0).isfinite().all()

    look_inside(probe)
    job.guide()
    torch.testing.assert_close(*velocities[0], atol=1e-5, rtol=1e-5)


def test_the_flow_foresees_its_end(job, look_inside):
    """On the line of the velocity, of which the window's end is another point."""
    pairs = []

    @torch.no_grad()
    def probe(flow, decode, energy, z0):
        start, end, last = (flow._sigmas[k] for k in (0, 1, -1))
        window_end, prediction = flow.predict(0, z0)
        pairs.append((window_end, flow.step(0, z0)))
        pairs.append((prediction, z0 + (window_end - z0) * (last - start) / (end - start)))
        pairs.append(flow.predict(len(flow) - 1, z0))

    look_inside(probe)
    job.guide()
    for a, b in pairs:
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_single_pass_guides(job):
    job.guide(rule="single_pass", iterations=8)
    assert job.iterates[-1].similarity > job.iterates[0].similarity


@pytest.mark.parametrize("rule", ["anchored", "accumulated", "fixed_point", "fully_anchored", "noise", "unanchored"])
def test_windowed_and_full_agree(job, rule):
    windowed, _ = job.guide(gradient="windowed", rule=rule)
    full, _ = job.guide(gradient="full", rule=rule)
    torch.testing.assert_close(windowed, full, atol=1e-4, rtol=0)
    assert (windowed - job.ksampler()).abs().max() > 1e-3


def test_guidance_raises_the_similarity(job):
    job.guide(iterations=4)
    assert job.iterates[-1].similarity > job.iterates[0].similarity


def test_samples_of_a_batch_do_not_influence_each_other(job):
    single, _ = job.guide(views=2)
    job.latent = {"samples": job.latent["samples"].repeat(2, 1, 1, 1)}
    both, image = job.guide(views=2)
    torch.testing.assert_close(both[:1], single, atol=1e-4, rtol=0)
    assert image.shape == (2, 3, 64, 64)
    assert not torch.allclose(both[0], both[1])
