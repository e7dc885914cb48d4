"""The mask that confines guidance is the one that the host applies in the last window."""

from __future__ import annotations

import torch
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion

MASK = torch.linspace(0, 1, 8).expand(1, 8, 8)


def gradient_through_decoder(job, look_inside, model=None, mask=None):
    """Of a run of four steps: how the picture answers to the end state, ``(1, 16, 8, 8)``."""
    seen = []

    def probe(flow, decode, energy, z0):
        z = z0.detach().clone().requires_grad_()
        with torch.enable_grad():
            seen.append(torch.autograd.grad(decode(z).square().sum(), z)[0])

    look_inside(probe)
    job.latent = {"samples": torch.zeros(1, 16, 8, 8), **({} if mask is None else {"noise_mask": mask})}
    job.guide(model, steps=4, iterations=1)
    return seen[0]


def test_a_soft_mask_is_the_hosts_as_it_is(job, look_inside):
    free, masked = (gradient_through_decoder(job, look_inside, mask=mask) for mask in (None, MASK))
    torch.testing.assert_close(masked, MASK * free, atol=1e-6 * free.abs().max().item(), rtol=1e-5)


def test_a_differential_one_is_hard_at_the_last_threshold(job, look_inside):
    """Half of the noise is left before this model's last of four steps: what is below that is kept."""
    free = gradient_through_decoder(job, look_inside)
    hard = (MASK > 0.5).float()
    for strength in (1.0, 0.5):
        model = DifferentialDiffusion.execute(job.model, strength).result[0]
        masked = gradient_through_decoder(job, look_inside, model, MASK)
        expected = (strength * hard + (1 - strength) * MASK) * free
        torch.testing.assert_close(masked, expected, atol=1e-6 * free.abs().max().item(), rtol=1e-5)
