"""The embedded model under the host's own nodes."""

import pytest
import safetensors.torch
import torch

import nodes as host_nodes


@pytest.fixture
def weights(pack, parts, monkeypatch, tmp_path):
    """The embedded files, with random weights."""
    demo = pack("nodes.host.networks.demo")
    monkeypatch.setattr(demo, "WEIGHTS", tmp_path)
    networks = {"autoencoder": parts.vae.first_stage_model, "text_encoder": parts.clip.cond_stage_model.encoder}
    states = {"flow": parts.flow_state, **{name: network.state_dict() for name, network in networks.items()}}
    for name, state in states.items():
        halves = {key: each.half() if each.is_floating_point() else each for key, each in state.items()}
        safetensors.torch.save_file(halves, tmp_path / f"{name}.safetensors")
    (tmp_path / "recogniser_guide.onnx").write_bytes(parts.recogniser.read_bytes())
    return tmp_path


def test_the_hosts_nodes_work_with_it(pack, weights):
    model, clip, vae = pack("nodes.demo").LoadDemoModel.execute().result
    positive = host_nodes.CLIPTextEncode().encode(clip, "a smiling person in a red hat")[0]
    [[context, options]] = positive
    assert context.shape == (1, 8, 192) and options["pooled_output"].shape == (1, 192)
    latent = host_nodes.EmptyLatentImage().generate(128, 128, 1)[0]
    latent = host_nodes.common_ksampler(model, 1, 4, 1.0, "euler", "simple", positive, positive, latent)[0]
    assert latent["samples"].shape == (1, 16, 16, 16)
    image = host_nodes.VAEDecode().decode(vae, latent)[0]
    assert image.shape == (1, 128, 128, 3)
    assert host_nodes.VAEEncode().encode(vae, image)[0]["samples"].shape == (1, 16, 16, 16)


def test_a_prompt_may_be_long_and_weighted(parts):
    encode = host_nodes.CLIPTextEncode().encode
    assert encode(parts.clip, "a red hat " * 40)[0][0][0].shape == (1, 16, 192)
    assert torch.isfinite(encode(parts.clip, "a (red:1.3) hat")[0][0][0]).all()
    assert host_nodes.CLIPSetLastLayer().set_last_layer(parts.clip, -2)[0] is not parts.clip


def test_the_embedded_recogniser_guides(pack, weights, job):
    (discriminator,) = pack("nodes.demo").LoadDemoDiscriminator.execute().result
    portrait = pack("nodes.demo").DrawDemoPortrait.execute(3, "a person")[0]
    assert pack("nodes.host.networks.discriminators").encode_images(
        discriminator, portrait
    ).embedding.norm() == pytest.approx(1)


@pytest.mark.parametrize("name", ["flow.safetensors", "autoencoder.safetensors", "text_encoder.safetensors"])
def test_a_missing_file_is_named(pack, weights, name):
    (weights / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        pack("nodes.demo").LoadDemoModel.execute()


def test_a_missing_embedded_recogniser_is_named(pack, weights):
    (weights / "recogniser_guide.onnx").unlink()
    with pytest.raises(FileNotFoundError, match="recogniser_guide"):
        pack("nodes.demo").LoadDemoDiscriminator.execute()


def test_a_person_is_the_same_under_every_prompt(pack):
    draw = pack("nodes.demo").DrawDemoPortrait.execute
    portrait, again, other = (draw(*each)[0] for each in ((3, "a person"), (3, "a person"), (4, "a person")))
    assert portrait.shape == (1, 128, 128, 3)
    assert torch.equal(portrait, again) and not torch.equal(portrait, other)
