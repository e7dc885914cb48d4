"""What a user may put before the sampler works with guidance: each on a small network of the host's own class.

A composition is put into the job by the host's own nodes; the tests below then check the same of each.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import comfy.sd
import folder_paths
import pytest
import torch

import nodes as host_nodes
from tests.helpers import finite_differences, host_patches, references
from tests.helpers.compositions import COMPOSITIONS, noise
from tests.helpers.families import FAMILIES, FLUX_FILE
from tests.helpers.jobs import random_state
from tests.helpers.small_networks import unet

ALL = {**COMPOSITIONS, **references.COMPOSITIONS, **host_patches.COMPOSITIONS}

# --- the jobs


@pytest.fixture
def files(tmp_path, monkeypatch, parts):
    """Folders of the host for what a composition loads."""
    for folder in ("loras", "hypernetworks"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(tmp_path)], {".safetensors", ".pt"}))
    return SimpleNamespace(loras=tmp_path, hypernetworks=tmp_path, clip=parts.clip)


def on_flow(job, request):
    """The job as it is: SD3's network."""


def on_unet(job, request):
    """Stable Diffusion's network, read as a rectified flow: its unguided picture is KSampler's to the bit."""
    request.getfixturevalue("unet")
    job.model = request.getfixturevalue("pack")("nodes.host.flows.model_sampling").with_rectified_flow(job.model)


def on_inpainting_unet(job, request):
    """The same that is also shown a picture and a mask."""
    on_unet(job, request)
    model = comfy.sd.load_diffusion_model_state_dict(
        random_state(unet(in_channels=9)), model_options={"dtype": torch.float32}
    )
    job.model = request.getfixturevalue("pack")("nodes.host.flows.model_sampling").with_rectified_flow(model)


def on(family):
    def put(job, request):
        job.model, job.vae = family.load(), family.vae()
        job.positive, job.negative = family.conditioning(7, seed=1), family.conditioning(5, seed=2)
        side = 64 // job.vae.downscale_ratio if isinstance(job.vae.downscale_ratio, int) else 8
        job.latent = {"samples": torch.zeros(1, family.channels, side, side)}

    return put


FILL = {**FLUX_FILE, "img_in.weight": (3072, 384)}
BASES = {
    "flow": on_flow,
    "unet": on_unet,
    "inpainting unet": on_inpainting_unet,
    "flux": on(FAMILIES["flux_schnell"]),
    "flux_fill": on(replace(FAMILIES["flux_dev"], file={**FAMILIES["flux_dev"].file, **FILL})),
    **{name: on(FAMILIES[name]) for name in ("flux_dev", "flux2_dev", "qwen_image")},
}


@pytest.fixture(params=ALL)
def composition(request):
    return ALL[request.param]


@pytest.fixture
def plain(job, composition, request):
    """The job on its model, with nothing put before the sampler."""
    BASES[composition.base](job, request)
    return job


@pytest.fixture
def composed(plain, composition, files):
    """`composed()` puts the composition into the plain job."""

    def put():
        composition.put(plain, files)
        return plain

    return put


def test_unguided_is_ksampler(plain, composed, composition):
    before = plain.ksampler(**composition.settings)
    job = composed()
    for settings in ({}, {"cfg": 3.0}):
        settings = {**settings, **composition.settings}
        picture = job.ksampler(**settings)
        assert torch.equal(job.guide(iterations=0, **settings)[0], picture)
        assert picture.isfinite().all()
        assert picture.shape != before.shape or (picture - before).abs().max() > 1e-4, "it has no effect"


def test_it_changes_the_guided_picture(plain, composed, composition, brightness):
    """The unguided picture, from which guidance starts, and the guided one are other ones than without it."""
    free, _ = plain.guide(energy=brightness, iterations=3, **composition.settings)
    job = composed()
    guided, image = job.guide(energy=brightness, iterations=3, **composition.settings)
    unguided = host_nodes.VAEDecode().decode(job.vae, {"samples": job.ksampler(**composition.settings)})[0]
    torch.testing.assert_close(job.iterates[0].image.movedim(1, -1), unguided, atol=1e-4, rtol=0)
    assert guided.shape != free.shape or (guided - free).abs().max() > 1e-3


def test_the_gradient_is_that_of_finite_differences(composed, composition, pack, brightness, look_inside):
    """To 1 % of its norm, windowed and full agree, and it is the finite difference along itself and elsewhere."""
    slopes, pairs = [], []

    def probe(flow, decode, energy, z0):
        methods, run_flow = pack("rectifid_core.solver.gradient"), pack("rectifid_core.solver.trajectory").run_flow
        nothing = [torch.zeros_like(z0)] * len(flow)
        # the full one first: nothing has run before that could have prepared the way for it
        full, windowed = (run(flow, decode, energy, z0, nothing, 0)[3] for run in (methods.full, methods.windowed))
        pairs.extend(zip(windowed, full, strict=True))

        @torch.no_grad()
        def value(z):
            return energy(decode(run_flow(flow, z, nothing)[-1]), 0).energy.sum().item()

        gradient, step = windowed[0], 1e-2
        for direction in (gradient, gradient.abs() * noise(*z0.shape, seed=8)):
            direction = direction / direction.norm()
            difference = (value(z0 + step * direction) - value(z0 - step * direction)) / (2 * step)
            slopes.append((difference, (gradient * direction).sum().item(), gradient.norm().item()))

    look_inside(probe)
    job = composed()
    job.guide(energy=brightness, iterations=1, **{"steps": 2, "cfg": 3.0, **composition.settings})
    for windowed, full in pairs:
        assert (windowed - full).norm() <= 1e-2 * full.norm()
    for difference, computed, norm in slopes:
        assert norm > 1e-3
        assert computed == pytest.approx(difference, abs=1e-2 * norm)


@pytest.mark.parametrize("gradient", ["auto", "windowed", "full", "checkpointed", "straight"])
def test_guidance_lowers_the_energy(composed, composition, brightness, gradient):
    """By each gradient but the one through the conditional, which has a test of its own."""
    job = composed()
    job.guide(
        energy=brightness, iterations=4, gradient=gradient, scale=1.0, scale_unit="latent", **composition.settings
    )
    assert (job.iterates[-1].energy < job.iterates[0].energy).all()


def test_a_checkpointed_gradient_is_the_same(composed, composition, brightness):
    job, latents = composed(), {}
    for gradient in ("windowed", "checkpointed"):
        latents[gradient], _ = job.guide(
            energy=brightness, iterations=1, steps=2, gradient=gradient, rule="fixed_point", **composition.settings
        )
    unguided = job.iterates[0].latent
    moved, other = (latents[name] - unguided for name in ("windowed", "checkpointed"))
    assert moved.norm() > 0
    assert (moved - other).norm() <= 1e-2 * moved.norm()


def test_a_gradient_through_the_conditional_lowers_the_energy(composed, composition, brightness):
    """The unguided picture is that of cfg, and the energy falls."""
    job = composed()
    settings = {"cfg": 3.0, **composition.settings}
    job.guide(energy=brightness, iterations=4, gradient="conditional", scale=1.0, scale_unit="latent", **settings)
    unguided = host_nodes.VAEDecode().decode(job.vae, {"samples": job.ksampler(**settings)})[0]
    torch.testing.assert_close(job.iterates[0].image.movedim(1, -1), unguided, atol=1e-4, rtol=0)
    assert (job.iterates[-1].energy < job.iterates[0].energy).all()
    assert job.facts["gradient"] == "conditional, full"


def test_a_run_leaves_models_and_pictures_as_they_were(plain, composed, composition):
    """The picture without it and with it, and the tensors of the weights."""
    before, free = plain.ksampler(), dict(vars(plain))
    job = composed()
    unguided = job.ksampler(**composition.settings)

    def tensors():
        return [*job.model.model.parameters(), *job.model.model.buffers()]

    held = tensors()
    job.guide(**composition.settings)
    assert torch.equal(job.ksampler(**composition.settings), unguided)
    assert all(a is b for a, b in zip(held, tensors(), strict=True))
    vars(job).update(free)
    assert torch.equal(job.ksampler(), before)


def test_a_picture_that_the_text_encoder_reads(job, request, brightness, look_inside):
    """Qwen-Image-Edit's own node, as a latent of a megapixel: as many as 4096 tokens."""
    BASES["qwen_image"](job, request)
    references.read_by_the_text_encoder(job)
    assert [each.ndim for each in job.positive[0][1]["reference_latents"]] == [5]
    before = job.ksampler()
    assert torch.equal(job.guide(iterations=0)[0], before)
    probe, slopes = finite_differences.slopes()
    look_inside(probe)
    job.guide(energy=brightness, iterations=2, steps=1, scale=1.0, scale_unit="latent")
    [(gradient, slope)] = slopes
    assert gradient.norm() > 1e-3
    assert slope == pytest.approx(gradient.norm().item(), rel=1e-2)
    assert job.iterates[-1].energy < job.iterates[0].energy
    assert torch.equal(job.ksampler(), before)
