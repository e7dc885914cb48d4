"""DINO's features are those of transformers, with a gradient."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
import transformers

from rectifid_core.discriminators.subjects.discriminator import load_subject_discriminator
from rectifid_core.images.regions import Region
from rectifid_core.networks.pretrained import PretrainedError
from tests.helpers import subject_folders
from tests.helpers.subject_folders import KNOWN, bytes_of, picture
from tests.helpers.worlds import rng


class TestEmbedder:
    @pytest.mark.parametrize("kind", KNOWN)
    def test_it_embeds_as_the_saved_network_does(self, folders, load, kind):
        root, written = folders
        image = picture(28, 28)
        processor = transformers.BitImageProcessor.from_pretrained(root / kind, do_resize=False)
        pixels = processor(bytes_of(image), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            expected = written[kind](pixels).last_hidden_state[:, 0]
            embedding = load(kind).embed(image[None])
        torch.testing.assert_close(embedding, torch.nn.functional.normalize(expected), atol=1e-5, rtol=0)

    def test_its_files_say_how_to_prepare_a_crop(self, load):
        dino = load()
        assert (dino.name, dino.noun, dino.input_size) == ("dinov2", "subject", 28)
        torch.testing.assert_close(dino.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
        assert dino.crop(picture(40, 90)[None], [Region((10, 0, 80, 30))]).shape == (1, 3, 28, 28)

    @pytest.mark.parametrize(
        ("settings", "size", "mean"),
        [
            ({}, 224, 0.485),
            ({"size": 518}, 518, 0.485),
            ({"size": {"height": 256, "width": 256}, "image_mean": [0.5, 0.5, 0.5]}, 256, 0.5),
            ({"size": {"shortest_edge": 98}}, 98, 0.485),
        ],
    )
    def test_preprocessing_of_other_folders(self, folder, settings, size, mean):
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
        dino = load_subject_discriminator(folder, None)
        assert dino.input_size == size and dino.mean[0] == pytest.approx(mean)

    def test_it_is_frozen(self, load):
        networks = load(detector="owlvit").networks
        assert len(networks) == 2
        assert not any(network.training for network in networks)
        assert not any(p.requires_grad for network in networks for p in network.parameters())

    @pytest.mark.parametrize("kind", KNOWN)
    def test_gradient_of_crop_and_embedding(self, load, kind):
        dino = load(kind, dtype=torch.float64)
        region = [Region((3.0, 1.0, 38.0, 30.0))]

        def similarity(image):
            return dino.embed(dino.crop(image, region)) @ direction

        direction = torch.randn(32, generator=rng(1), dtype=torch.float64)
        image = picture(32, 40).double()[None].requires_grad_()
        assert torch.autograd.gradcheck(similarity, image, fast_mode=True, atol=1e-6)
        (gradient,) = torch.autograd.grad(similarity(image).sum(), image)
        assert (gradient[0, :, 1:30, 3:38] != 0).all(), "every pixel of the region counts"
        assert (gradient[0, :, 30:] == 0).all()

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
    @pytest.mark.parametrize("kind", KNOWN)
    def test_less_precision(self, load, kind, dtype, tolerance):
        crops = torch.stack([picture(28, 28, seed) for seed in range(4)])
        full, half = load(kind), load(kind, dtype=dtype)
        assert {p.dtype for p in half.network.parameters()} == {dtype}
        embeddings = half.embed(crops)
        assert embeddings.dtype == torch.float32
        assert (1 - (embeddings * full.embed(crops)).sum(dim=1)).max() < tolerance

    def test_positions_keep_their_precision(self, load):
        if "dinov3_vit" not in KNOWN:
            pytest.skip("this transformers has no DINOv3")
        full, half = (dict(load("dinov3_vit", dtype=dtype).network.named_buffers()) for dtype in (None, torch.bfloat16))
        assert full and all(torch.equal(full[name], half[name]) for name in full)

    def test_digest_is_the_hash_of_the_file(self, folders, load):
        root, _ = folders
        content = (root / "dinov2" / "model.safetensors").read_bytes()
        assert load().digest == hashlib.sha256(content).hexdigest()

    def test_weights_in_more_than_one_file(self, tmp_path, load):
        subject_folders.write_embedder(tmp_path / "dino", max_shard_size="40KB")
        shards = sorted((tmp_path / "dino").glob("model-*.safetensors"))
        assert len(shards) > 1
        dino = load_subject_discriminator(tmp_path / "dino", None)
        crops = picture(28, 28)[None]
        torch.testing.assert_close(dino.embed(crops), load().embed(crops))
        assert dino.digest == hashlib.sha256(b"".join(shard.read_bytes() for shard in shards)).hexdigest()
        shards[0].unlink()
        with pytest.raises(PretrainedError, match=f"lacks {shards[0].name}"):
            load_subject_discriminator(tmp_path / "dino", None)
