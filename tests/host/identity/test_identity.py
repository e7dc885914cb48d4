"""Encoding, keeping, loading and measuring an identity, as a graph does it; each bad input with its message."""

import logging
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import folder_paths
import numpy as np
import pytest
import torch
from PIL import Image

import nodes as host_nodes
from tests.helpers.places import WEIGHTS


def pictures(batch=1, height=40, width=50, channels=3, seed=0):
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(seed))


def previews(output):
    return [Path(folder_paths.temp_directory, each["filename"]) for each in output.ui["images"]]


class TestEncode:
    def test_batches_and_lists_of_any_size_make_one_identity(self, nodes, encode, shown):
        assert nodes["EncodeReferenceIdentity"].INPUT_IS_LIST
        output = encode([pictures(2), pictures(1, 64, 32, 4), pictures(1, 20, 20, 1)])
        guidance, crops, boxes = output.result
        assert guidance.identity.embeddings.shape == (4, 16) and crops.shape == (4, 32, 32, 3)
        assert boxes.shape == (4, 64, 50, 3) and boxes.min() >= 0 and boxes.max() <= 1
        sizes = [Image.open(path).size for path in previews(output)]
        assert sizes[:4] == [(50, 40), (50, 40), (32, 64), (20, 20)] and sizes[4:8] == [(32, 32)] * 4
        assert len(sizes) == 8
        assert shown == [(output.ui["text"][0], "7")]
        assert shown[0][0].splitlines()[2] == "reference image 3: took the picture, 32 x 64 pixels"

    def test_what_takes_part_in_a_gradient_later_is_normal(self, encode):
        identity = encode(pictures(2), weights="1, 0.5", matching="nearest").result[0].identity
        tensors = (identity.embeddings, identity.weights, identity.crops, *(each.image for each in identity.references))
        assert not any(tensor.is_inference() for tensor in tensors)
        assert identity.weights.tolist() == [1, 0.5] and identity.matching == "nearest"

    def test_the_same_picture_in_any_layout(self, encode):
        image = pictures()
        expected = encode(image).result[0].identity.embeddings
        transposed = image.transpose(1, 2).contiguous().transpose(1, 2)
        strided = torch.stack([image, image], dim=-1)[..., 0]
        assert not transposed.is_contiguous() and not strided.is_contiguous()
        for layout in (transposed, strided, image.double(), torch.cat([image, torch.ones(1, 40, 50, 1)], dim=-1)):
            torch.testing.assert_close(encode(layout).result[0].identity.embeddings, expected)

    def test_grey_is_grey_in_three_channels(self, encode):
        grey = pictures(channels=1)
        three = encode(grey.expand(-1, -1, -1, 3)).result[0].identity
        torch.testing.assert_close(encode(grey).result[0].identity.embeddings, three.embeddings)

    def test_a_picture_of_16_bits_from_the_hosts_loader(self, encode, tmp_path, monkeypatch):
        monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path))
        deep = (pictures().numpy()[0] * 65535).round().astype(np.uint16)
        cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
        loaded = encode(host_nodes.LoadImage().load_image("deep.png")[0]).result[0].identity
        assert loaded.embedding @ encode(pictures()).result[0].identity.embedding > 0.999

    def test_a_picture_of_8k(self, encode):
        image = pictures(1, 27, 48).repeat(1, 160, 160, 1)
        assert image.shape == (1, 4320, 7680, 3)
        _, crops, boxes = encode(image).result
        assert crops.shape == (1, 32, 32, 3) and boxes.shape == (1, 576, 1024, 3)

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (torch.zeros(0, 64, 64, 3), "no reference image"),
            (torch.zeros(1, 1, 1, 3), "reference image.*1 x 1"),
            (torch.full((1, 16, 16, 3), torch.nan), "reference image.*nan"),
            (
                [pictures(), torch.full((1, 9, 9, 3), torch.inf)],
                "reference image 2 of 2.*inf",
            ),
            (65535 * pictures(), "65535"),
            (torch.ones(1, 16, 16, 3, dtype=torch.uint16), "whole numbers"),
            (torch.zeros(1, 16, 16, 2), "grey, RGB or RGBA"),
            (torch.zeros(16, 16, 3), "grey, RGB or RGBA"),
        ],
        ids=["empty", "pixel", "nan", "infinite", "16-bit", "whole", "channels", "unbatched"],
    )
    def test_what_is_no_picture_is_refused(self, encode, images, message):
        with pytest.raises(ValueError, match=message):
            encode(images)

    def test_a_mask_marks_the_thing(self, encode):
        image = pictures(3)
        masks = torch.zeros(3, 40, 50)
        masks[:, 10:30, 5:45] = 1
        inside = image[:, 10:30, 5:45]
        expected = encode(inside).result[0].identity.embeddings
        for mask in (masks, [masks[:1], masks[1:]], [masks[0], masks[1:, None]]):
            torch.testing.assert_close(encode(image, mask=mask).result[0].identity.embeddings, expected)

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (torch.ones(2, 64, 64), "reference image 1 of 2.*64 x 64.*50 x 40"),
            (torch.ones(1, 40, 50), "2 reference.*1 masks"),
            ([torch.ones(1, 40, 50), torch.zeros(1, 64, 64)], "mask 2 is empty"),
        ],
    )
    def test_masks_that_do_not_fit_are_refused(self, encode, mask, message):
        with pytest.raises(ValueError, match=message):
            encode(pictures(2), mask=mask)

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({"weights": "1; 2"}, "'1; 2'.*numbers"),
            ({"weights": "1, "}, "not numbers"),
            ({"weights": "1"}, "2 reference.*1 weights"),
            ({"weights": "0, 0"}, "not all of them 0"),
            ({"weights": "1, nan"}, "0 or more"),
            ({"weights": "1, -1"}, "0 or more"),
            ({"text": "a dog"}, "recogniser.*a dog"),
        ],
    )
    def test_settings_that_do_not_fit_are_refused(self, encode, inputs, message):
        with pytest.raises(ValueError, match=message):
            encode(pictures(2), **inputs)

    def test_a_doubt_is_shown_and_logged(self, encode, job, shown, caplog, monkeypatch):
        doubtful = job.discriminator._discriminator
        monkeypatch.setattr(doubtful, "doubt", lambda region, crop: "it is very small", raising=False)
        with caplog.at_level(logging.WARNING):
            encode(pictures())
        assert "RectifID: it is very small" in caplog.text
        assert shown[0][0].endswith("\nWarning: it is very small")


class TestKeep:
    @pytest.fixture
    def identity(self, encode):
        return encode(pictures(2), weights="1, 0.5").result[0]

    @pytest.fixture
    def load(self, run, job):
        return lambda file, discriminator=None: run(
            "LoadIdentity", discriminator=discriminator or job.discriminator, file=file
        )

    def test_a_saved_identity_guides_as_before(self, run, sample, load, identity, identities, nodes, shown):
        run("SaveIdentity", identity=identity)
        assert shown[-1] == (f"saved as identity_00001_.safetensors in {identities.resolve()}", "7")
        options = nodes["LoadIdentity"].INPUT_TYPES()["required"]["file"][1]["options"]
        assert options == ["identity_00001_.safetensors"]
        output = load(*options)
        loaded, crops = output.result
        assert crops.shape == (2, 32, 32, 3) and len(output.ui["images"]) == 2
        assert not loaded.identity.embeddings.is_inference()
        latents = [sample(guidance=each).result[0]["samples"] for each in (identity, loaded)]
        assert torch.equal(*latents)

    def test_nothing_is_overwritten(self, run, identity, identities):
        for prefix in ("me", "me", "family/me", "family/me", "me"):
            run("SaveIdentity", identity=identity, filename_prefix=prefix)
        files = sorted(path.relative_to(identities).as_posix() for path in identities.rglob("*.*"))
        assert files == [
            "family/me_00001_.safetensors",
            "family/me_00002_.safetensors",
            "me_00001_.safetensors",
            "me_00002_.safetensors",
            "me_00003_.safetensors",
        ]

    @pytest.mark.parametrize("prefix", ["../me", "family/../../me", "/tmp/me", "", ".", "family/.."])
    def test_a_prefix_stays_in_the_folder(self, run, identity, identities, prefix):
        with pytest.raises(ValueError, match="name for a file"):
            run("SaveIdentity", identity=identity, filename_prefix=prefix)
        assert not list(identities.parent.rglob("*.safetensors"))

    def test_none_is_saved_yet(self, nodes, load, identities):
        [placeholder] = nodes["LoadIdentity"].INPUT_TYPES()["required"]["file"][1]["options"]
        with pytest.raises(FileNotFoundError, match=f"no identity in {identities}.*Save Identity"):
            load(placeholder)

    def test_a_file_that_is_gone_is_missed_before_anything_runs(self, run, nodes, load, identity, identities):
        message = f"There is no identity me.safetensors in {identities}"
        with pytest.raises(FileNotFoundError, match=message):
            load("me.safetensors")
        validate = nodes["LoadIdentity"].validate_inputs
        assert validate(file="me.safetensors").startswith(message)
        run("SaveIdentity", identity=identity)
        assert validate(file="identity_00001_.safetensors") is True and validate() is True

    def test_a_changed_file_is_loaded_again(self, run, nodes, identity, identities):
        run("SaveIdentity", identity=identity)
        fingerprint = nodes["LoadIdentity"].fingerprint_inputs
        before = fingerprint(file="identity_00001_.safetensors", discriminator=None)
        (identities / "identity_00001_.safetensors").touch()
        assert fingerprint(file="identity_00001_.safetensors", discriminator=None) != before

    def test_another_discriminator_is_refused(self, pack, run, load, identity, identities, tmp_path):
        run("SaveIdentity", identity=identity)
        other = tmp_path / "other.onnx"
        other.write_bytes((WEIGHTS / "recogniser_guide.onnx").read_bytes())
        discriminator = pack("nodes.host.networks.discriminators").load_discriminator(other)
        with pytest.raises(ValueError, match=r"recogniser \(.*other \("):
            load("identity_00001_.safetensors", discriminator)

    def test_damaged_files_are_refused(self, run, load, identity, identities):
        run("SaveIdentity", identity=identity)
        whole = (identities / "identity_00001_.safetensors").read_bytes()
        (identities / "half.safetensors").write_bytes(whole[: len(whole) // 2])
        (identities / "pickle.safetensors").write_bytes(pickle.dumps({"embeddings": [1.0]}))
        for file, message in (("half", "part"), ("pickle", "pickle")):
            with pytest.raises(ValueError, match=f"{file}.safetensors.*{message}"):
                load(f"{file}.safetensors")


class TestMeasure:
    @pytest.fixture
    def identity(self, encode):
        return encode(pictures()).result[0]

    def test_a_number_and_a_line_for_each_image(self, run, job, identity, shown):
        images = torch.cat([pictures(), pictures(seed=1)])
        output = run("MeasureIdentity", images=images, identity=identity)
        similarity, text = output.result
        other = run("MeasureIdentity", images=images[1:], identity=identity).result[0]
        assert similarity == pytest.approx((1 + other) / 2, abs=1e-5) and other < 0.99
        assert text.splitlines()[0] == "image 1: similarity 1.000, picture at (25, 20), 50 x 40 pixels"
        assert len(text.splitlines()) == 2 and output.ui["text"] == (text,) and shown[0] == (text, "7")

    def test_where_nothing_is_found(self, run, job, identity, monkeypatch):
        blind = job.discriminator._discriminator
        found = iter([[], blind.locate(torch.zeros(1, 3, 40, 50))[0], []])
        monkeypatch.setattr(blind, "locate", lambda image, query=None, thorough=False: [next(found)], raising=False)
        similarity, text = run("MeasureIdentity", images=pictures().repeat(2, 1, 1, 1), identity=identity).result
        assert similarity == pytest.approx(1) and text.startswith("image 1: no picture found\nimage 2: similarity 1.0")
        assert run("MeasureIdentity", images=pictures(), identity=identity).result[0] == 0.0

    def test_grey_and_transparent_images(self, run, identity):
        opaque = torch.cat([pictures(), torch.ones(1, 40, 50, 1)], dim=-1)
        assert run("MeasureIdentity", images=opaque, identity=identity).result[0] == pytest.approx(1)
        assert -1 <= run("MeasureIdentity", images=pictures(channels=1), identity=identity).result[0] <= 1

    def test_an_empty_batch_and_nan(self, run, identity):
        with pytest.raises(ValueError, match="no image"):
            run("MeasureIdentity", images=torch.zeros(0, 16, 16, 3), identity=identity)
        with pytest.raises(ValueError, match="image.*nan"):
            run("MeasureIdentity", images=pictures() * torch.nan, identity=identity)


class TestGuidance:
    def test_without_options_it_is_the_identity(self, run, sample, job):
        (guidance,) = run("IdentityGuidance", identity=job.identity).result
        latents = [sample(guidance=each).result[0]["samples"] for each in (job.identity, guidance)]
        assert torch.equal(*latents)

    def test_pixels_bring_the_picture_nearer_to_the_reference(self, run, sample, job):
        (guidance,) = run("IdentityGuidance", identity=job.identity, pixels=1.0).result
        by_cosine, by_pixels = (sample(guidance=each).result[0]["samples"] for each in (job.identity, guidance))
        assert not torch.equal(by_cosine, by_pixels)

    def test_the_detector_rests_between(self, run, sample, job, monkeypatch):
        discriminator, calls = job.discriminator._discriminator, []
        locate = discriminator.locate
        monkeypatch.setattr(discriminator, "locate", lambda *a: calls.append(1) or locate(*a), raising=False)
        (guidance,) = run("IdentityGuidance", identity=job.identity, detect_every=3).result
        sample(guidance=guidance, iterations=5)
        assert len(calls) == 2, "of six iterates"

    def test_an_identity_without_its_images_guides(self, sample, job):
        bare = replace(job.identity, identity=replace(job.identity.identity, references=()))
        latents = [sample(guidance=each).result[0]["samples"] for each in (job.identity, bare)]
        assert torch.equal(*latents)
