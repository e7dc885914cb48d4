"""Flows in noise levels on denoisers that are known in closed form."""

import pytest
import torch

from rectifid_core.flows.sigmas import ConsistencyFlow, EulerFlow, StraightFlow
from rectifid_core.interfaces import EndVelocityFlow, Flow, PredictingFlow

MEAN, SPREAD = 0.7, 0.5


def falling(steps, most=1.0):
    return torch.linspace(most, 0, steps + 1, dtype=torch.float64)


def start():
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def point(x, sigma):
    """All images are one."""
    return torch.full_like(x, MEAN)


def gaussian(x, sigma):
    """x = image + sigma noise, with images from N(MEAN, SPREAD^2)."""
    return MEAN + (x - MEAN) * SPREAD**2 / (SPREAD**2 + sigma**2)


def run(flow, z):
    for k in range(len(flow)):
        z = flow.step(k, z)
    return z


@pytest.mark.parametrize("steps", [1, 4])
def test_a_straight_flow_to_one_image_is_exact_in_any_number_of_steps(steps):
    sigmas, z = falling(steps), start()
    flow = StraightFlow(point, sigmas, torch.ones_like(sigmas), torch.tensor(1e-3))
    assert isinstance(flow, Flow) and isinstance(flow, EndVelocityFlow) and isinstance(flow, PredictingFlow)
    assert len(flow) == steps and flow.weight(0) == 1
    for k in range(steps):
        expected = (1 - sigmas[k + 1]) * MEAN + sigmas[k + 1] * start()
        following, end = flow.predict(k, z)
        displacement = flow.end_displacement(k, expected) if k < steps - 1 else None
        torch.testing.assert_close(end, torch.full_like(z, MEAN))
        torch.testing.assert_close(following, expected)
        if displacement is not None:  # a straight path has one velocity
            torch.testing.assert_close(displacement, expected - z)
        z = flow.step(k, z)
        torch.testing.assert_close(z, expected)


def test_the_velocity_at_sigma_0_is_read_at_the_smallest_that_was_trained():
    asked = []

    def watched(x, sigma):
        asked.append(float(sigma))
        return point(x, sigma)

    sigmas = falling(2)
    flow = StraightFlow(watched, sigmas, torch.ones_like(sigmas), torch.tensor(0.25))
    assert flow.end_displacement(1, start()).isfinite().all()
    flow.end_displacement(0, start())
    assert asked == [0.25, 0.5]


def test_euler_comes_to_the_probability_flow_of_gaussian_images_by_the_first_order():
    """x - MEAN falls as sqrt(SPREAD^2 + sigma^2); twice the steps, half the error."""
    most = 5.0
    scale = (1 + torch.tensor(most) ** 2).sqrt()
    z = start()
    exact = MEAN + (z * scale - MEAN) * SPREAD / (SPREAD**2 + most**2) ** 0.5
    errors = []
    for steps in (200, 400):
        sigmas = falling(steps, most)
        end = run(EulerFlow(gaussian, sigmas, (1 + sigmas**2).sqrt()), z)
        errors.append((end - exact).norm().item())
    assert errors[0] < 0.05 * exact.norm()
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)


def test_a_state_keeps_unit_variance_by_its_scale():
    sigmas = falling(4, 10.0)
    flow = EulerFlow(gaussian, sigmas, (1 + sigmas**2).sqrt())
    z = flow.step(0, start())
    x = (start() * (1 + sigmas[0] ** 2).sqrt() - MEAN) * (
        1 - (sigmas[0] - sigmas[1]) * sigmas[0] / (SPREAD**2 + sigmas[0] ** 2)
    )
    torch.testing.assert_close(z, (x + MEAN) / (1 + sigmas[1] ** 2).sqrt())


def test_a_consistency_flow_is_the_same_map_each_time():
    sigmas = falling(3, 4.0)
    scales, noise = (1 + sigmas**2).sqrt(), start()
    flow = ConsistencyFlow(
        gaussian, sigmas, scales, [noise, 2 * noise, None], lambda sigma, noise, x: x + sigma * noise
    )
    z = start()
    assert torch.equal(run(flow, z), run(flow, z))
    clean = gaussian(z * scales[0], sigmas[0])
    torch.testing.assert_close(flow.step(0, z), (clean + sigmas[1] * noise) / scales[1])
    torch.testing.assert_close(flow.step(2, z), gaussian(z * scales[2], sigmas[2]))


def test_the_gradient_of_a_step_is_the_closed_form():
    """d z_1 / d z_0 of gaussian images: 1 - (1 - share of the image) * step / sigma, the same everywhere."""
    sigmas = falling(2)
    flow = EulerFlow(gaussian, sigmas, torch.ones_like(sigmas))
    z = start().requires_grad_()
    (gradient,) = torch.autograd.grad(flow.step(0, z).sum(), z)
    kept = SPREAD**2 / (SPREAD**2 + 1)
    torch.testing.assert_close(gradient, torch.full_like(z, 1 - (1 - kept) * 0.5))
