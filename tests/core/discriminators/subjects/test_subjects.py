"""Subjects: folders as users have them, DINO's features, OWL's boxes."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from rectifid_core.discriminators.subjects import detector as subject_detector
from rectifid_core.discriminators.subjects import discriminator as subjects
from rectifid_core.discriminators.subjects.detector import load_subject_detector
from rectifid_core.discriminators.subjects.discriminator import load_subject_discriminator
from rectifid_core.guidance.identity import IdentityGuidance
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.identity.files import load_identity, save_identity
from rectifid_core.images.regions import Region
from rectifid_core.networks.pretrained import PretrainedError, digest, find_cached, find_folders, model_type
from rectifid_core.solver.solve import solve
from tests.helpers import subject_folders
from tests.helpers.places import SHARED
from tests.helpers.worlds import pushed_together, rng

KNOWN = [kind for kind in subject_folders.EMBEDDERS if hasattr(transformers, subjects.CLASSES[kind])]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A models folder with each kind of network, by the name of the kind; and the networks as they were saved."""
    root = tmp_path_factory.mktemp("transformers")
    written = {kind: subject_folders.write_embedder(root / kind, kind) for kind in KNOWN}
    written |= {kind: subject_folders.write_detector(root / kind, kind) for kind in subject_folders.DETECTORS}
    return root, written


@pytest.fixture
def load(folders):
    def load(embedder="dinov2", detector=None, **settings):
        root, _ = folders
        return load_subject_discriminator(root / embedder, detector and root / detector, **settings)

    return load


@pytest.fixture
def folder(tmp_path):
    """A folder of the test's own, to be damaged."""
    subject_folders.write_embedder(tmp_path / "dino")
    return tmp_path / "dino"


def picture(height, width, seed=0):
    """``(3, H, W)``, smooth, of whole 8-bit values."""
    coarse = torch.rand(1, 3, 5, 5, generator=rng(seed))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0]
    return (smooth * 255).round() / 255


def bytes_of(image):
    return (image * 255).round().byte().movedim(0, -1).numpy()


def box_of(region):
    return torch.tensor(region.box)


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

    def test_weights_in_several_files(self, tmp_path, load):
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


class TestDetector:
    @pytest.fixture(params=subject_folders.DETECTORS)
    def kind(self, request):
        return request.param

    @pytest.fixture
    def detector(self, folders, kind):
        return load_subject_detector(folders[0] / kind)

    @pytest.fixture
    def processor(self, folders, kind):
        tokenizer = transformers.CLIPTokenizerFast.from_pretrained(folders[0] / kind)
        processor = transformers.Owlv2Processor if kind == "owlv2" else transformers.OwlViTProcessor
        return processor(image_processor=subject_folders.image_processor(kind), tokenizer=tokenizer)

    @torch.no_grad()
    def test_words_find_what_transformers_finds(self, folders, kind, detector, processor):
        image = picture(64, 64)
        inputs = processor(text=[["a dog", "red"]], images=bytes_of(image), return_tensors="pt")
        outputs = folders[1][kind](**inputs)
        target = torch.tensor([[64, 64]])
        (theirs,) = processor.image_processor.post_process_object_detection(outputs, 0.0, target)
        boxes, scores = detector(image[None], torch.cat([detector.text_query(t) for t in ("a dog", "red")]))
        torch.testing.assert_close(boxes[0], theirs["boxes"], atol=1e-3, rtol=0)
        torch.testing.assert_close(scores[0], theirs["scores"], atol=1e-5, rtol=0)
        assert scores.max() - scores.min() > 0.1, "all the same would agree with anything"

    @torch.no_grad()
    def test_a_picture_finds_what_transformers_finds(self, folders, kind, detector, processor):
        image, wanted = picture(64, 64), picture(64, 64, seed=3)
        inputs = processor(images=bytes_of(image), query_images=bytes_of(wanted), return_tensors="pt")
        outputs = folders[1][kind].image_guided_detection(**inputs)
        _, scores = detector(image[None], detector.image_query(wanted)[None])
        torch.testing.assert_close(scores, outputs.logits[..., 0].sigmoid(), atol=1e-5, rtol=0)

        (theirs,) = processor.image_processor.post_process_image_guided_detection(
            outputs, threshold=0.0, nms_threshold=0.3, target_sizes=torch.tensor([[64, 64]])
        )
        boxes = theirs["boxes"][theirs["scores"].argsort(descending=True)].clamp(0, 64)
        boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).amin(dim=1) >= 1]
        regions = detector.detect(image[None], detector.image_query(wanted)[None], floor=0.0)[0]
        ours = torch.stack([box_of(region) for region in regions])
        shared = min(len(ours), len(boxes))
        assert shared >= 5
        torch.testing.assert_close(ours[:shared], boxes[:shared], atol=1e-3, rtol=0)

    @pytest.mark.parametrize("size", [(48, 80), (200, 120), (31, 31)])
    def test_pictures_are_prepared_as_by_transformers(self, kind, detector, processor, size):
        """To a level of 255, which theirs are rounded to.  OWLv2 on squares: transformers 5 pads in black, older ones
        and the authors in grey."""
        image = picture(*size) if kind == "owlvit" else picture(size[0], size[0])
        theirs = processor(images=bytes_of(image), return_tensors="pt")["pixel_values"]
        difference = (detector.prepare(image[None]) - theirs) * detector.std
        assert difference.abs().max() < 1.5 / 255

    @torch.no_grad()
    def test_owlv2_pads_and_owlvit_squashes(self, kind, detector):
        """A wide picture has the boxes of the same picture made square by hand."""
        image = picture(32, 64)
        query = detector.text_query("a ball")
        boxes, scores = detector(image[None], query)
        if kind == "owlv2":
            square = torch.full((3, 64, 64), 0.5)
            square[:, :32] = image
            expected = detector(square[None], query)
        else:
            squashed = torch.nn.functional.interpolate(image[None], (64, 64), mode="bicubic", antialias=True)
            expected = detector(squashed.clamp(0, 1), query)
            expected[0][..., 1::2] /= 2
        torch.testing.assert_close((boxes, scores), tuple(expected), atol=1e-3, rtol=0)

    def test_regions_are_sorted_apart_and_in_the_image(self, detector):
        images = torch.stack([picture(40, 64, seed) for seed in range(3)])
        query = detector.text_query("dog")
        found = detector.detect(images, query, floor=0.0)
        for image, regions in zip(images, found, strict=True):
            assert 2 < len(regions) <= subject_detector.MOST
            scores = [region.score for region in regions]
            assert scores == sorted(scores, reverse=True)
            assert all(0 <= r.box[0] < r.box[2] <= 64 and 0 <= r.box[1] < r.box[3] <= 40 for r in regions)
            alone = detector.detect(image[None], query, floor=0.0)[0]
            torch.testing.assert_close(
                torch.stack([box_of(r) for r in alone]), torch.stack([box_of(r) for r in regions]), atol=1e-3, rtol=0
            )
            floor = scores[2]
            above = detector.detect(image[None], query, floor=floor - 1e-5)[0]
            assert [r.score for r in above] == pytest.approx(scores[:3], abs=1e-5)

    def test_nothing_there(self, detector):
        assert detector.detect(picture(40, 40)[None], detector.text_query("dog"), floor=1.0) == [[]]

    def test_too_many_words(self, detector):
        with pytest.raises(ValueError, match="too long.*reads 14 tokens"):
            detector.text_query("a dog a cat a ball a dog a cat a ball a dog a cat")

    @torch.no_grad()
    def test_numbers_beyond_its_precision(self, detector):
        detector.network.layer_norm.weight.fill_(torch.inf)
        with pytest.raises(ValueError, match="computes nan or infinity.*load it in fp32"):
            detector.image_query(picture(64, 64))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_less_precision(self, folders, kind, detector, dtype):
        half = load_subject_detector(folders[0] / kind, dtype)
        image = picture(64, 64)[None]
        boxes, scores = half(image, half.text_query("a dog"))
        assert boxes.dtype == scores.dtype == torch.float32
        expected_boxes, expected_scores = detector(image, detector.text_query("a dog"))
        assert (boxes - expected_boxes).abs().mean() < 0.5  # pixels of 64; these weights are rough
        assert (scores - expected_scores).abs().mean() < 0.02


class TestLocate:
    def test_without_a_detector_the_middle(self, load):
        dino = load()
        (regions,) = dino.locate(picture(40, 60)[None])
        assert [region.box for region in regions] == [(10, 0, 50, 40)]
        assert dino.locate(torch.zeros(2, 3, 32, 32)) == [[Region((0, 0, 32, 32))]] * 2
        assert dino.image_query(picture(40, 60), regions[0]) is None and dino.text_query(" ") is None

    def test_words_without_a_detector(self, load):
        with pytest.raises(ValueError, match="'a dog' cannot be looked for without a detector.*paint a mask"):
            encode_identity(load(), [picture(80, 80)], text="a dog")

    @pytest.mark.parametrize("detector", subject_folders.DETECTORS)
    def test_text(self, load, detector):
        owl = load(detector=detector)
        image = picture(80, 120)
        identity = encode_identity(owl, [image, picture(64, 64, 1)], text="a dog")
        best = owl.locate(image[None], owl.text_query("a dog"))[0][0]
        assert identity.seen[0].chosen == best
        assert identity.query.shape == (2, 32) and identity.embeddings.shape == (2, 32)
        crop = owl.crop(image[None], [best])
        torch.testing.assert_close(identity.crops[:1], crop)
        torch.testing.assert_close(identity.query[0], owl.image_query(image, best))

    def test_mask_and_whole(self, load):
        owl = load(detector="owlvit")
        image, mask = picture(80, 120), torch.zeros(80, 120)
        mask[10:30, 20:90] = 1
        masked = encode_identity(owl, [image], masks=[mask])
        assert masked.seen[0].chosen.box == (20, 10, 90, 30)
        torch.testing.assert_close(masked.query[0], owl.image_query(image, masked.seen[0].chosen))
        assert masked.doubts == (
            "the subject is only 70 x 20 pixels, so the likeness may be poor; use a picture in which it is at least 64 "
            "pixels wide and high",
        )
        middle = encode_identity(load(), [image])
        assert middle.seen[0].chosen.box == (20, 0, 100, 80) and middle.query is None and middle.doubts == ()

    def test_nothing_that_the_words_name(self, load):
        owl = load(detector="owlvit", threshold=1.0)
        with pytest.raises(ValueError, match="reference image: no subject found"):
            encode_identity(owl, [picture(64, 64)], text="a dog")

    def test_doubtful_regions_go_down_to_a_quarter_of_the_threshold(self, load):
        query = load(detector="owlvit").text_query("a dog")
        image = picture(64, 64)[None]
        best = load(detector="owlvit").locate(image, query)[0][0].score
        assert load(detector="owlvit", threshold=3.9 * best).locate(image, query)[0]
        assert load(detector="owlvit", threshold=4.1 * best).locate(image, query) == [[]]

    def test_on_another_device(self, load):
        owl = load(detector="owlvit")
        identity = encode_identity(owl, [picture(64, 64)])
        image = torch.zeros(1, 3, 64, 64, device="meta")
        with pytest.raises(ValueError, match="dinov2 with owlvit is on the device cpu and the picture on meta"):
            owl.locate(image, identity.query)

    def test_an_identity_belongs_to_its_detector(self, load, tmp_path):
        """What one detector shall look for means nothing to another, even where the numbers would fit."""
        owl = load(detector="owlvit")
        save_identity(encode_identity(owl, [picture(64, 64)]), tmp_path / "dog.safetensors")
        kept = load_identity(tmp_path / "dog.safetensors", load(detector="owlvit", dtype=torch.bfloat16))
        assert kept.query.shape == (1, 32)
        for other in (load(detector="owlv2"), load()):
            with pytest.raises(ValueError, match="encoded by dinov2 with owlvit .*here dinov2"):
                load_identity(tmp_path / "dog.safetensors", other)

    @pytest.mark.skipif(not (SHARED / "dog.jpg").is_file(), reason="the shared test pictures are not here")
    def test_a_photograph(self, load):
        photo = torch.from_numpy(np.array(Image.open(SHARED / "dog.jpg").convert("RGB")))
        photo = photo.movedim(-1, 0).float() / 255
        owl = load(detector="owlv2")
        identity = encode_identity(owl, [photo], text="a dog")
        assert identity.crops.shape == (1, 3, 28, 28) and identity.embedding.isfinite().all()
        seen = IdentityGuidance(identity, pixels=1.0).energy(views=2)(photo[None].requires_grad_(), 0)
        assert seen.energy.isfinite().all() and seen.found.all()


@pytest.mark.parametrize(("detector", "pixels"), [(None, 0.0), ("owlvit", 0.0), ("owlv2", 0.5)])
def test_guided(load, detector, pixels):
    """The region moves from iterate to iterate with a detector, and the similarity rises all the same."""
    discriminator = load(detector=detector)
    identity = encode_identity(discriminator, [picture(64, 64, seed=5)], text="a dog" if detector else "")
    energy = IdentityGuidance(identity, pixels=pixels).energy(views=2)
    z0 = torch.randn(2, 3, 48, 48, generator=rng(2))
    iterates = list(solve(pushed_together(), torch.sigmoid, energy, z0, iterations=6, scale=5.0))
    assert iterates[0].found.all()
    similarity = torch.stack([iterate.similarity for iterate in iterates])
    assert (similarity[1:].amax(dim=0) > similarity[0] + 0.05).all()


class TestFolders:
    def test_found_by_what_they_hold(self, folders, tmp_path):
        root, _ = folders
        (tmp_path / "facebook").mkdir()
        (tmp_path / "facebook" / "mine").symlink_to(root / "dinov2")
        (tmp_path / "owl").symlink_to(root / "owlvit")
        for name, content in [("gpt", '{"model_type": "gpt2"}'), ("list", "[1]"), ("half", '{"model_'), ("empty", "")]:
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text(content)
        assert list(find_folders([tmp_path], subjects.CLASSES)) == ["facebook/mine"]
        assert list(find_folders([tmp_path], subject_detector.CLASSES)) == ["owl"]
        assert find_folders([tmp_path / "nowhere"], subjects.CLASSES) == {}
        assert model_type(tmp_path / "half") is None

    def test_the_newest_snapshot_of_a_cached_repository(self, folders, tmp_path):
        root, _ = folders
        repository = tmp_path / "models--facebook--dinov2-base"
        for revision, age in [("0ld", 100), ("new", 50), ("older", 200)]:
            snapshot = repository / "snapshots" / revision
            snapshot.mkdir(parents=True)
            for file in (root / "dinov2").iterdir():
                (snapshot / file.name).symlink_to(file)
            os.utime(snapshot, (1e9 - age, 1e9 - age))
        (tmp_path / "models--openai--clip" / "snapshots" / "1").mkdir(parents=True)
        found = find_cached(tmp_path, subjects.CLASSES)
        assert found == {"facebook/dinov2-base": repository / "snapshots" / "new"}
        assert load_subject_discriminator(found["facebook/dinov2-base"], None).name == "dinov2-base"
        assert find_cached(tmp_path / "nowhere", subjects.CLASSES) == {}

    def test_nothing_is_asked_of_a_network(self, load, monkeypatch):
        def refuse(*_):
            raise AssertionError("a connection was tried")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        load(detector="owlv2").text_query("a dog")

    def refuses(self, folder, message):
        with pytest.raises(PretrainedError, match=message) as raised:
            load_subject_discriminator(folder, None)
        assert str(folder) in str(raised.value)

    def test_no_folder_or_no_config(self, tmp_path):
        self.refuses(tmp_path / "nowhere", "no readable config.json.*all files of its repository")
        self.refuses(tmp_path, "no readable config.json")

    def test_no_weights(self, folder):
        (folder / "model.safetensors").unlink()
        self.refuses(folder, "no weights; get the model.safetensors .*facebook/dinov2-base")
        with pytest.raises(PretrainedError, match="no weights"):
            digest(folder)

    def test_only_a_pickle(self, folder, tmp_path):
        ran = tmp_path / "ran"

        class Bomb:
            def __reduce__(self):
                return Path.touch, (ran,)

        (folder / "model.safetensors").unlink()
        torch.save(Bomb(), folder / "pytorch_model.bin")
        self.refuses(folder, "only as pytorch_model.bin.*run any program.*get the model.safetensors")
        (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
        self.refuses(folder, "no safetensors file but a pickle under another name.*delete it")
        torch.save(Bomb(), folder / "model.safetensors", _use_new_zipfile_serialization=False)
        self.refuses(folder, "a pickle under another name")
        assert not ran.exists()

    def test_a_file_that_only_begins_like_a_pickle(self, folder):
        """Safetensors begin with the length of their header, which may be any number."""
        file = folder / "model.safetensors"
        tensors = load_file(file)
        for length in range(0, 256, 8):
            save_file(tensors, file, {"format": "pt", "padding": "." * length})
            if file.read_bytes()[:1] == b"\x80":
                break
        assert file.read_bytes()[:1] == b"\x80"
        load_subject_discriminator(folder, None)

    @pytest.mark.parametrize("kept", [0.0, 0.0001, 0.5, 0.999])
    def test_a_part_of_a_file(self, folder, kept):
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: int(kept * len(content))])
        self.refuses(folder, "only a part of one; download it again")

    def test_a_network_of_another_kind(self, folders, folder):
        root, _ = folders
        self.refuses(root / "owlvit", "of the kind owlvit; needed is dinov2 or .*facebook/dinov2-base")
        with pytest.raises(PretrainedError, match="of the kind dinov2; needed is owlvit or owlv2.*google/owl"):
            load_subject_discriminator(folder, folder)

    def test_a_kind_that_transformers_does_not_know_yet(self, folder, monkeypatch):
        self.change_config(folder, model_type="dinov9")
        monkeypatch.setitem(subjects.CLASSES, "dinov9", "Dinov9Model")
        self.refuses(folder, "newer transformers than .* dinov9 yet: pip install --upgrade transformers")

    @pytest.mark.parametrize("change", [{"num_hidden_layers": 3}, {"hidden_size": 48}])
    def test_weights_of_another_config(self, folder, change):
        self.change_config(folder, **change)
        self.refuses(folder, "do not belong to its config.json; download all files of one repository")

    def test_a_config_that_names_code(self, folder):
        """Neither classes in files of the folder nor attention kernels of the hub."""
        (folder / "evil.py").write_text("raise SystemExit('code of the folder was run')")
        self.change_config(
            folder,
            auto_map={"AutoModel": "evil.Model"},
            attn_implementation="somebody/kernels:evil",
            architectures=["E"],
        )
        network = load_subject_discriminator(folder, None).network.transformer
        assert type(network) is transformers.Dinov2Model and network.config._attn_implementation == "sdpa"

    def test_an_index_that_points_out_of_its_folder(self, folder):
        (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
        index = {"weight_map": {"a": "../elsewhere.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        self.refuses(folder, "outside of its own folder")

    def test_a_detector_that_cannot_read(self, folder, tmp_path):
        subject_folders.write_detector(tmp_path / "owl")
        (tmp_path / "owl" / "merges.txt").unlink()
        with pytest.raises(PretrainedError, match="no tokenizer .*all files of its repository"):
            load_subject_discriminator(folder, tmp_path / "owl")

    def change_config(self, folder, **changes):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))
