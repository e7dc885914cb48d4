"""Unguided it is KSampler to the bit, and a run changes nothing for other nodes."""

import pytest
import torch

import nodes as host_nodes


def use_masked_latent(job):
    generator = torch.Generator().manual_seed(3)
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    job.latent = {"samples": torch.randn(1, 16, 8, 8, generator=generator), "noise_mask": mask}


@pytest.mark.parametrize("scheduler", ["simple", "normal", "sgm_uniform", "beta", "karras", "linear_quadratic"])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_unguided_is_ksampler(job, scheduler, cfg):
    latent, _ = job.guide(iterations=0, scheduler=scheduler, cfg=cfg)
    assert torch.equal(latent, job.ksampler(scheduler=scheduler, cfg=cfg))


def test_unguided_part_of_the_denoising_is_ksampler(job):
    job.latent = {"samples": torch.randn(2, 16, 8, 8), "batch_index": [4, 1]}
    latent, _ = job.guide(iterations=0, denoise=0.6)
    assert torch.equal(latent, job.ksampler(denoise=0.6))


def test_unguided_inpainting_is_ksampler(job):
    use_masked_latent(job)
    latent, _ = job.guide(iterations=0, denoise=0.8)
    assert torch.equal(latent, job.ksampler(denoise=0.8))


def test_the_reference_of_a_guided_run_is_ksamplers_picture(job):
    job.guide()
    unguided = host_nodes.VAEDecode().decode(job.vae, {"samples": job.ksampler()})[0]
    torch.testing.assert_close(job.iterates[0].image.movedim(1, -1), unguided, atol=1e-5, rtol=0)


def test_the_image_is_what_the_vae_makes_of_the_latent(job):
    latent, image = job.guide(keep="best")
    decoded = host_nodes.VAEDecode().decode(job.vae, {"samples": latent})[0]
    torch.testing.assert_close(image.movedim(1, -1), decoded, atol=1e-5, rtol=0)


def test_guided_inpainting_preserves_what_the_mask_protects(job):
    use_masked_latent(job)
    latent, _ = job.guide(scale=50.0, rule="fixed_point")
    start = job.latent["samples"]
    torch.testing.assert_close(latent[:, :, 4:], start[:, :, 4:], atol=1e-3, rtol=0)
    assert (latent - job.ksampler())[:, :, :4].abs().max() > 1e-3


@pytest.mark.parametrize("gradient", ["windowed", "full"])
def test_other_nodes_give_the_same_results_afterwards(job, parts, gradient):
    def others():
        latent = job.ksampler()
        return [
            latent,
            host_nodes.VAEDecode().decode(job.vae, {"samples": latent})[0],
            host_nodes.CLIPTextEncode().encode(parts.clip, "a red hat")[0][0][0],
        ]

    before = others()
    options = repr(job.model.model_options)
    job.guide(gradient=gradient)
    assert all(torch.equal(a, b) for a, b in zip(before, others(), strict=True))
    assert repr(job.model.model_options) == options


def test_weights_are_the_same_tensors_afterwards(job):
    networks = (job.model.model, job.vae.patcher.model, job.discriminator.network)
    before = [tensor for network in networks for tensor in network.state_dict(keep_vars=True).values()]
    assert before[0].is_inference()
    job.guide()
    after = [tensor for network in networks for tensor in network.state_dict(keep_vars=True).values()]
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert not any(module._forward_pre_hooks for module in job.model.model.modules())
