"""On a GPU everything that meets in an operation is there: checked without one, on tensors without content."""

from __future__ import annotations

import comfy.sd
import pytest
import torch

from tests.helpers.fake_cuda import GPU, fake_cuda

MASK = torch.zeros(1, 64, 64)
MASK[..., :32] = 1


@pytest.fixture
def fresh(pack, job, monkeypatch):
    """The job with networks of its own, which may be spoilt, and sigmas of which nobody asks whether they end at 0."""
    with torch.inference_mode(False):
        job.vae = pack("nodes.host.networks.demo").vae_from_network(pack("demo.autoencoder").Autoencoder())
    monkeypatch.setattr(pack("nodes.host.run.sampler"), "_refuse_unfinished", lambda sigmas: None)
    return job


@pytest.fixture
def guide_on_gpu(pack, fresh, monkeypatch):
    """`guide_on_gpu(**settings)`: where the latent, the image and the iterates were; the latent comes back."""

    def guide(**settings):
        job = fresh
        with torch.inference_mode(False):  # fake tensors know nothing of inference tensors
            job.positive, job.negative, job.latent = pack("nodes.host.gradient.autograd").normal(
                (job.positive, job.negative, job.latent)
            )
        patchers = [job.model, job.vae.patcher, *job.discriminator.patchers]
        monkeypatch.setattr(job.vae, "device", GPU)
        with fake_cuda(monkeypatch, patchers):
            latent, image = job.guide(**settings)
            assert latent.device.type == "cpu", "as a KSampler's"
            assert image.device == GPU
            for iterate in job.iterates:
                assert {each.device for each in (iterate.latent, iterate.energy, iterate.residual)} == {GPU}

    return guide


def test_a_tensor_on_another_device_would_be_an_error(fresh, guide_on_gpu, brightness):
    reference = torch.rand(3, 64, 64)

    def energy(image, iteration):
        return brightness(image - reference, iteration)

    with pytest.raises(RuntimeError, match="same device"):
        guide_on_gpu(energy=energy)


@pytest.mark.parametrize(
    "settings",
    [
        {"cfg": 3.0, "views": 2},
        {"gradient": "full"},
        {"gradient": "checkpointed"},
        {"gradient": "conditional", "cfg": 3.0},
        {"gradient": "straight"},
        {"rule": "single_pass", "iterations": 6, "views": 2},
        {"rule": "fixed_point"},
        {"rule": "anchored", "iterations": 4},
        {"rule": "fully_anchored", "keep": "best"},
        {"rule": "noise"},
        {"rule": "unanchored"},
        {"iterations": 0},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_every_setting(fresh, guide_on_gpu, settings):
    fresh.latent = {"samples": torch.zeros(2, 16, 8, 8)}
    guide_on_gpu(**settings)


@pytest.mark.parametrize("rule", ["accumulated", "single_pass"])
def test_inpainting(fresh, guide_on_gpu, rule):
    fresh.latent = {"samples": torch.zeros(2, 16, 8, 8), "noise_mask": MASK}
    guide_on_gpu(rule=rule, iterations=6)


@pytest.mark.parametrize("rule", ["accumulated", "single_pass"])
@pytest.mark.parametrize("guidance", ["two", "limited", "color", "mixed"])
def test_every_guidance(pack, run, fresh, guide_on_gpu, guidance, rule):
    picture = run("DrawDemoPortrait", identity=4)[0]
    (other, *_) = run("EncodeReferenceIdentity", discriminator=fresh.discriminator, images=picture).result
    color = run("ColorGuidance", image=picture)[0]
    limited = run("LimitGuidance", guidance=fresh.identity, start_iteration=1, end_percent=0.7, mask=MASK)[0]
    fresh.guidance = {
        "two": lambda: run("CombineGuidance", guidance_1=fresh.identity, guidance_2=other)[0],
        "limited": lambda: limited,
        "color": lambda: color,
        "mixed": lambda: run("CombineGuidance", guidance_1=limited, guidance_2=color, weight_2=0.5)[0],
    }[guidance]()
    guide_on_gpu(rule=rule, iterations=6, views=2)


@pytest.mark.parametrize("family", ["consistency", "diffusion", "perflow"])
def test_the_families_of_a_unet(pack, run, fresh, unet, guide_on_gpu, family, monkeypatch):
    flow = pack(
        "nodes.host.flows.flow"
    )  # whose noise the host draws by a generator on the GPU, of which there is no fake
    monkeypatch.setattr(flow, "default_noise_sampler", lambda x, seed: lambda *sigmas: torch.randn_like(x))
    with torch.inference_mode(False):
        unet.vae = comfy.sd.VAE(sd=dict(unet.vae.first_stage_model.state_dict()), dtype=torch.float32)
    if family == "perflow":
        unet.model = run("ModelSamplingPeRFlow", model=unet.model)[0]
    guide_on_gpu(family=family, steps=4, cfg=3.0)
