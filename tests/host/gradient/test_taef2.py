"""FLUX.2's small autoencoder with its real weights, real latents and a real recogniser of faces."""

from __future__ import annotations

import folder_paths
import pytest
import torch

import nodes as host_nodes
from tests.helpers.families import FAMILIES
from tests.helpers.places import shared
from tests.helpers.portraits import real_pack, square

SIDE = 384
PART = "models/taef2_{}.safetensors"


@pytest.fixture
def vae(monkeypatch):
    if "taef2" not in getattr(host_nodes.VAELoader, "image_taes", ()):
        pytest.skip("this host has no TAEF2")
    folder = shared(PART.format("decoder")).parent
    shared(PART.format("encoder"))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "vae_approx", ([str(folder)], {".safetensors"}))
    (loaded,) = host_nodes.VAELoader().load_vae("taef2")
    return loaded


def encoded(vae, image):
    return host_nodes.VAEEncode().encode(vae, image.movedim(0, -1)[None])[0]["samples"]


def test_a_portrait_comes_back(vae):
    image = square("hidream_i1_dev-1", SIDE)
    latent = encoded(vae, image)
    assert latent.shape == (1, 128, SIDE // 16, SIDE // 16)
    again = host_nodes.VAEDecode().decode(vae, {"samples": latent})[0][0].movedim(-1, 0)
    error = (again.clamp(0, 1) - image).square().mean()
    assert -10 * error.log10() > 22, "decibels"


def test_a_latent_is_guided_to_another_face(vae, pack, tmp_path):
    """The gradient is the finite difference, and a few steps along it raise the similarity."""
    pytest.importorskip("insightface")
    reference = square("image_z_image_turbo-1", SIDE)
    model = FAMILIES["flux2_klein"].load()
    autograd, decoder = pack("nodes.host.gradient.autograd"), pack("nodes.host.gradient.decoder")
    decoder.refuse_other_vaes(vae, model)
    start = encoded(vae, square("hidream_i1_dev-1", SIDE))
    load = pack("rectifid_core.discriminators.faces.discriminator").load_face_discriminator
    with autograd.differentiable([vae.patcher.model, model.model]):
        discriminator = load(real_pack(tmp_path / "pack"))
        identity = pack("rectifid_core.identity.encoding").encode_identity(discriminator, [reference.clone()])
        guidance = pack("rectifid_core.guidance.identity").IdentityGuidance(identity, discriminator)
        energy = guidance.energy(views=0, seed=0)
        decode = decoder.VAEDecoder(vae, vae.patcher.model, model.model)
        z, seen = model.model.process_latent_in(start.clone()), []
        for _ in range(6):
            z.requires_grad_()
            observed = energy(decode(z), 0)
            (gradient,) = torch.autograd.grad(observed.energy.sum(), z)
            seen.append((observed.energy.item(), observed.similarity.item()))
            direction = gradient / gradient.norm()
            if len(seen) == 1:
                with torch.no_grad():
                    ends = [energy(decode(z + step * direction), 0).energy.item() for step in (0.3, -0.3)]
                assert (ends[0] - ends[1]) / 0.6 == pytest.approx(gradient.norm().item(), rel=0.15)
            z = (z - 4.0 * direction).detach()
    energies, similarities = zip(*seen, strict=True)
    assert energies[-1] < energies[0]
    assert similarities[-1] > similarities[0] + 0.1, similarities
