"""The decoder is the host's VAE, with a gradient."""

from types import SimpleNamespace

import comfy.latent_formats
import comfy.ldm.wan.vae
import comfy.sd
import comfy.taesd.taesd
import folder_paths
import pytest
import torch
from comfy.quant_ops import QuantizedTensor
from safetensors.torch import save_file
from torch import nn

import nodes as host_nodes


def random_vae(network):
    """The host's layers are born with whatever the memory held."""
    generator = torch.Generator().manual_seed(4)
    state = {
        name: torch.randn(w.shape, generator=generator) / max(w[0].numel() if w.ndim else 1, 1) ** 0.5
        for name, w in network.state_dict().items()
    }
    return comfy.sd.VAE(sd=state)


def tiny_vae():
    return random_vae(comfy.taesd.taesd.TAESD(latent_channels=16))


def video_vae():
    """Of the kind that Qwen-Image and Wan use: latents have an axis of frames."""
    return random_vae(comfy.ldm.wan.vae.WanVAE(dim=8, z_dim=16, temperal_downsample=[False, True, True]))


class Model(nn.Module):
    """Of the host's model, what a decoder needs."""

    def __init__(self, latent_format):
        super().__init__()
        self.latent_format = latent_format

    def process_latent_out(self, latent):
        return self.latent_format.process_out(latent)


@pytest.mark.parametrize(
    ("vae", "latent_format", "shape"),
    [
        (tiny_vae, comfy.latent_formats.SD3, (2, 16, 4, 4)),
        (video_vae, comfy.latent_formats.Wan21, (2, 16, 1, 4, 4)),
    ],
)
def test_it_decodes_as_the_host_and_has_a_gradient(pack, vae, latent_format, shape):
    vae, model = vae(), Model(latent_format())
    z = torch.randn(shape)
    expected = vae.decode(model.process_latent_out(z)).reshape(2, 32, 32, 3)
    with pack("nodes.host.gradient.autograd").differentiable([vae.patcher.model, model]):
        z = z.clone().requires_grad_()
        image = pack("nodes.host.gradient.decoder").VAEDecoder(vae, vae.patcher.model, model)(z)
        (gradient,) = torch.autograd.grad(image.sum(), z)
    assert torch.equal(image.movedim(1, -1), expected)
    assert gradient.flatten(1).norm(dim=1).min() > 0


@pytest.fixture
def taesd(tmp_path, monkeypatch):
    """The host's own small autoencoder for SD3's latents, as its loader finds it among the files of previews."""
    network = comfy.taesd.taesd.TAESD(latent_channels=16)
    generator = torch.Generator().manual_seed(4)
    for part in ("encoder", "decoder"):
        state = getattr(network, f"taesd_{part}").state_dict()
        state = {name: 0.04 * torch.randn(weight.shape, generator=generator) for name, weight in state.items()}
        *_, last_weight, last_bias = state
        state[last_bias] += 0.5  # grey pictures, of which nothing is clamped
        state[last_weight] *= 0.3
        save_file(state, tmp_path / f"taesd3_{part}.safetensors")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "vae_approx", ([str(tmp_path)], {".safetensors"}))
    return host_nodes.VAELoader().load_vae("taesd3")[0]


def test_the_hosts_small_autoencoder_guides_in_the_place_of_the_vae(job, taesd):
    """The loop looks through it, and what comes out is a latent for the VAE of the model."""
    latent, image = job.guide(vae=taesd, iterations=3)
    similarity = [iterate.similarity.item() for iterate in job.iterates]
    assert similarity[-1] > similarity[0]
    torch.testing.assert_close(taesd.decode(latent), image.movedim(1, -1), atol=1e-5, rtol=0)
    assert job.vae.decode(latent).shape == image.movedim(1, -1).shape
    assert torch.equal(job.guide(vae=taesd, iterations=0)[0], job.ksampler())


def test_the_gradient_through_the_small_autoencoder(job, taesd, brightness, look_inside):
    """Against a finite difference along it, to 1 %: of its decoder without the rest, whose ReLUs bend."""
    measured = []

    def probe(flow, decode, energy, z0):
        z = z0.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(energy(decode(z), 0).energy.sum(), z)
        direction, step = gradient / gradient.norm(), 1e-2
        with torch.no_grad():
            ends = [energy(decode(z0 + sign * step * direction), 0).energy.sum() for sign in (1, -1)]
        measured.append((gradient.norm().item(), (ends[0] - ends[1]).item() / (2 * step)))

    look_inside(probe)
    job.guide(vae=taesd, energy=brightness)
    [(gradient, difference)] = measured
    assert gradient > 1e-6
    assert difference == pytest.approx(gradient, rel=1e-2)


def test_a_saturated_pixel_keeps_its_gradient(pack):
    identity = SimpleNamespace(decode=lambda latent: latent)
    vae = SimpleNamespace(
        process_output=lambda x: ((x + 1) / 2).clamp(0, 1), latent_dim=2, device="cpu", vae_dtype=torch.float32
    )
    with torch.inference_mode(False):
        decode = pack("nodes.host.gradient.decoder").VAEDecoder(
            vae, identity, Model(comfy.latent_formats.LatentFormat())
        )
        z = torch.tensor([-2.0, 0.0, 2.0]).expand(1, 3, 1, 3).clone().requires_grad_()
        image = decode(z)
        (gradient,) = torch.autograd.grad(image.sum(), z)
    assert image[0, 0, 0].tolist() == [0.0, 0.5, 1.0]
    assert gradient[0, 0, 0].tolist() == [0.5, 0.5, 0.5]


def test_a_quantised_weight_has_a_gradient_and_is_put_back(pack):
    layer = nn.Linear(32, 8, bias=False)
    weight = QuantizedTensor.from_float(layer.weight.detach().clone(), "TensorCoreFP8Layout", scale=None)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    held = layer.weight
    with pack("nodes.host.gradient.autograd").differentiable([layer]):
        x = torch.randn(3, 32, requires_grad=True)
        (gradient,) = torch.autograd.grad((layer(x * 1)).sum(), x)
        torch.testing.assert_close(gradient, layer.weight.dequantize().sum(dim=0).expand(3, 32))
    assert layer.weight is held
