"""The flow models that the host knows by itself, each on a small network of its real class with random weights.

A model is told from the names and shapes of its file, as the host tells it; only its widths are then made small.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

import nodes as host_nodes
from tests.helpers import newer_families
from tests.helpers.families import FAMILIES, HEIGHT, WIDTH, kl_vae, tiny_vae, video_vae

ALL = {**FAMILIES, **newer_families.FAMILIES}


@pytest.fixture(scope="module", params=ALL)
def family(request):
    chosen = ALL[request.param]
    if request.param in newer_families.FAMILIES and not chosen.known():
        pytest.skip(f"this host does not know {request.param}")
    if request.param == "flux2_klein" and chosen.detect().unet_config["num_heads"] != 24:
        pytest.skip("this host knows FLUX.2 in the width of dev only")
    return chosen


@pytest.fixture(scope="module")
def loaded(family):
    with torch.inference_mode():
        return family.load(), family.vae()


@pytest.fixture
def native(job, family, loaded):
    """The job with a small model of the family, its VAE and its conditionings."""
    job.model, job.vae = loaded
    job.positive, job.negative = family.conditioning(7, seed=1), family.conditioning(5, seed=2)
    job.latent = {"samples": torch.zeros(1, family.channels, *family.size)}
    return job


def decoded(job, latent):
    return host_nodes.VAEDecode().decode(job.vae, {"samples": latent})[0].movedim(-1, 1)


def test_the_host_calls_it_a_flow(native, family, pack):
    assert type(native.model.model.model_config).__name__ == family.host_class
    assert pack("nodes.host.flows.family").family_of(native.model, 4) == "flow"


@pytest.mark.parametrize(("cfg", "scheduler"), [(1.0, "simple"), (3.0, "beta")])
def test_unguided_is_ksampler(native, family, cfg, scheduler):
    native.latent = {"samples": torch.zeros(2, family.channels, *family.size)}
    latent, _ = native.guide(iterations=0, cfg=cfg, scheduler=scheduler)
    assert torch.equal(latent, native.ksampler(cfg=cfg, scheduler=scheduler))
    assert latent.isfinite().all() and latent.std() > 0.1


def test_unguided_with_another_shift_is_ksampler(native, family):
    shifted = family.shifted(native.model)
    latent, _ = native.guide(shifted, iterations=0)
    assert torch.equal(latent, native.ksampler(shifted))
    assert not torch.equal(latent, native.ksampler())


def test_the_gradient(native, family, pack, brightness, look_inside):
    """Windowed and full agree; along itself and random directions it is the finite difference, to 1 % of its norm."""
    slopes, pairs = [], []

    def probe(flow, decode, energy, z0):
        methods, run_flow = pack("rectifid_core.solver.gradient"), pack("rectifid_core.solver.trajectory").run_flow
        z0 = 0.1 * z0 if family.clamped else z0
        nothing = [torch.zeros_like(z0)] * len(flow)
        with pack("nodes.host.gradient.saved").saved_tensors_may_change() if family.in_place else nullcontext():
            windowed, full = (run(flow, decode, energy, z0, nothing, 0)[3] for run in (methods.windowed, methods.full))
        pairs.extend(zip(windowed, full, strict=True))

        @torch.no_grad()
        def value(z):
            return energy(decode(run_flow(flow, z, nothing)[-1]), 0).energy.item()

        gradient, step = windowed[0], 1e-2 * z0.std().item()
        generator = torch.Generator().manual_seed(8)
        for direction in [gradient, *torch.randn(2, *z0.shape, generator=generator)]:
            direction = direction / direction.norm()
            difference = (value(z0 + step * direction) - value(z0 - step * direction)) / (2 * step)
            slopes.append((difference, (gradient * direction).sum().item(), gradient.norm().item()))

    look_inside(probe)
    native.guide(energy=brightness, iterations=1, cfg=3.0)
    for windowed, full in pairs:
        assert (windowed - full).norm() < 1e-3 * full.norm()
    assert len(slopes) == 3 and slopes[0][2] > 1e-2
    for difference, computed, norm in slopes:
        assert computed == pytest.approx(difference, abs=1e-2 * norm)


def test_the_gradient_in_half_precision(native, family, pack, brightness, look_inside):
    """Like the one in float32; bfloat16 also rounds what FLUX is told of its guidance, which is another picture."""
    gradients = []

    def probe(flow, decode, energy, z0):
        nothing, scale = [torch.zeros_like(z0)] * len(flow), pack("nodes.host.run.sampler").LOSS_SCALE
        windowed = pack("rectifid_core.solver.gradient").windowed
        with pack("nodes.host.gradient.saved").saved_tensors_may_change() if family.in_place else nullcontext():
            gradients.append(windowed(flow, decode, energy, z0, nothing, 0, scale)[3][0].flatten())

    look_inside(probe)  # for all runs of this test
    for dtype in (torch.float32, torch.float16 if family.half else torch.float32, torch.bfloat16):
        model = native.model.clone()
        model.set_model_compute_dtype(dtype)
        native.guide(model, energy=brightness, iterations=1)
    exact, half, brain = gradients
    assert torch.cosine_similarity(exact, half, dim=0) > 0.999
    assert torch.cosine_similarity(exact, brain, dim=0) > 0.93


def test_the_pictures_are_the_hosts(native, family):
    """The unguided one, that guidance starts from, and the guided one of the latent that is returned."""
    latent, image = native.guide()
    torch.testing.assert_close(native.iterates[0].image, decoded(native, native.ksampler()), atol=1e-4, rtol=0)
    torch.testing.assert_close(image, decoded(native, latent), atol=1e-5, rtol=0)
    assert family.clamped or (image.min() > 0 and image.max() < 1), "a decoder that clamps hides mistakes"


def test_guidance_lowers_the_energy(native, family, brightness):
    native.guide(energy=brightness, iterations=4, scale_unit="latent", scale=1.0, rule=family.rule)
    assert native.iterates[-1].energy < native.iterates[0].energy


def test_afterwards_all_is_as_before(native):
    networks = (native.model.model, native.vae.patcher.model)

    def tensors():
        return [tensor for network in networks for tensor in network.state_dict(keep_vars=True).values()]

    before, held, options = native.ksampler(), tensors(), repr(native.model.model_options)
    native.guide(cfg=3.0)
    native.guide(gradient="full", rule="unanchored")
    assert native.iterates[-1].latent.isfinite().all()
    assert all(a is b for a, b in zip(held, tensors(), strict=True))
    assert held[0].is_inference()
    assert torch.equal(native.ksampler(), before)
    assert repr(native.model.model_options) == options


# --- the decoder with each kind of VAE in front of a model that goes with it


VAES = {
    "kl_4": (lambda: kl_vae(4), "auraflow"),
    "kl_16": (lambda: kl_vae(16), "flux_dev"),
    "kl_packed_128": (lambda: kl_vae(32, packed=True), "flux2_dev"),
    "video_16": (video_vae, "qwen_image"),
    "tiny_16": (tiny_vae, "flux_schnell"),
}


@pytest.mark.parametrize("kind", VAES)
def test_a_decoder_is_the_hosts_and_has_a_gradient(pack, kind):
    vae, family = VAES[kind]
    vae, model = vae(), FAMILIES[family].load()
    decoder = pack("nodes.host.gradient.decoder")
    decoder.refuse_other_vaes(vae, model)
    z = torch.randn(2, FAMILIES[family].channels, *[1] * (vae.latent_dim - 2), HEIGHT, WIDTH)
    expected = vae.decode(model.model.process_latent_out(z))
    expected = expected.reshape(2, *expected.shape[-3:]).movedim(-1, 1)
    with pack("nodes.host.gradient.autograd").differentiable([vae.patcher.model, model.model]):
        decode = decoder.VAEDecoder(vae, vae.patcher.model, model.model)
        z, weights = z.clone().requires_grad_(), torch.randn(expected.shape)
        image = decode(z)
        (gradient,) = torch.autograd.grad((image * weights).sum(), z)
        with torch.no_grad():
            step = 1e-2 * gradient / gradient.norm()
            difference = ((decode(z + step) - decode(z - step)).double() * weights).sum() / 2e-2
    assert torch.equal(image.detach(), expected)
    assert float(difference) == pytest.approx(float(gradient.norm()), rel=1e-2)
    assert gradient.flatten(1).norm(dim=1).min() > 0
