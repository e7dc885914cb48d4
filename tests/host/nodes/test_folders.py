"""Names of combos stand for what is in the models' folders, and what they stand for is loaded anew when it changes."""

from __future__ import annotations

import os
import shutil

import folder_paths
import huggingface_hub
import pytest

from tests.helpers import subject_folders

posix = pytest.mark.skipif(os.name != "posix", reason="a link takes an administrator here")
OUTSIDE = ["../outside/{}", "/etc/{}", "{root}/outside/{}", "..\\outside\\{}", "./../outside/{}", "x/../../outside/{}"]
DEVICES = ["CON", "NUL", "{}.", "{} ", "{}\0", "{}/.", "C:{}", "\\\\?\\{}", "{}::$DATA"]


@pytest.fixture
def models(tmp_path, parts, monkeypatch):
    """A folder each for recognisers, packs and transformers, with one of each; and the same once more outside."""
    root = tmp_path / "models"
    places = {"discriminators": "", "insightface": "models", "transformers": ""}
    for folder, below in places.items():
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(root / folder)], set()))
        (root / folder / below).mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for place in (root / "discriminators", root / "outside", tmp_path / "outside"):
        place.mkdir(exist_ok=True)
        shutil.copy(parts.recogniser, place / "mine.onnx")
    for place in (root / "insightface" / "models", root / "outside", tmp_path / "outside"):
        (place / "small").mkdir(parents=True)
        shutil.copy(parts.recogniser, place / "small" / "a.onnx")
    subject_folders.write_embedder(root / "transformers" / "dino")
    for place in (root / "outside", tmp_path / "outside"):
        shutil.copytree(root / "transformers" / "dino", place / "dino")
    return root


@pytest.fixture(params=["LoadEmbeddingDiscriminator", "LoadFaceDiscriminator", "LoadSubjectDiscriminator"])
def node(request, nodes):
    return nodes[request.param]


@pytest.fixture
def widget(node):
    return {"Embedding": "discriminator", "Face": "pack", "Subject": "embedder"}[
        node.__name__.removeprefix("Load").removesuffix("Discriminator")
    ]


@pytest.fixture
def name(widget):
    return {"discriminator": "mine.onnx", "pack": "small", "embedder": "dino"}[widget]


def test_a_name_of_the_list_is_taken(node, widget, name, models):
    options = node.INPUT_TYPES()["required"][widget][1]["options"]
    assert name in options and node.validate_inputs(**{widget: name}) is True


@pytest.mark.parametrize("pattern", [*OUTSIDE, *DEVICES], ids=ascii)
def test_a_name_that_leads_elsewhere_is_not_opened(node, widget, name, models, run, pattern):
    other = pattern.format(name, root=models)
    assert "There is no" in str(node.validate_inputs(**{widget: other}))
    with pytest.raises(ValueError, match="There is no"):
        run(node.__name__, **{widget: other})
    names = {"detector": "none"} if widget == "embedder" else {}
    with pytest.raises(ValueError, match="There is no"):
        node.fingerprint_inputs(**{widget: other}, **names)


def test_a_separator_of_another_system_is_the_same(nodes, models):
    (models / "transformers" / "facebook").mkdir()
    (models / "transformers" / "dino").rename(models / "transformers" / "facebook" / "small")
    assert nodes["LoadSubjectDiscriminator"].validate_inputs(embedder="facebook\\small") is True


@posix
def test_links_out_of_the_tree_stay_allowed(nodes, models):
    """Models are large, and kept once for all programs."""
    (models / "discriminators" / "linked.onnx").symlink_to(models / "outside" / "mine.onnx")
    (models / "transformers" / "linked").symlink_to(models / "outside" / "dino")
    assert nodes["LoadEmbeddingDiscriminator"].validate_inputs(discriminator="linked.onnx") is True
    assert nodes["LoadSubjectDiscriminator"].validate_inputs(embedder="linked") is True


def test_the_only_one_that_came_since_is_taken_and_of_several_one_is_asked_for(nodes, models):
    node = nodes["LoadSubjectDiscriminator"]
    (models / "transformers" / "dino").rename(models / "dino")
    (placeholder,) = node.INPUT_TYPES()["required"]["embedder"][1]["options"]
    (models / "dino").rename(models / "transformers" / "dino")
    assert node.validate_inputs(embedder=placeholder) is True
    shutil.copytree(models / "transformers" / "dino", models / "transformers" / "ape")
    said = node.validate_inputs(embedder=placeholder)
    assert "Choose one of ape, dino" in said and "press R" in said


class TestChanges:
    @pytest.fixture
    def state(self, node, widget, name):
        names = {"detector": "none"} if widget == "embedder" else {}
        return lambda: node.fingerprint_inputs(**{widget: name}, **names)

    @pytest.fixture
    def file(self, widget, models):
        places = {"discriminator": "discriminators/mine.onnx", "pack": "insightface/models/small/a.onnx"}
        return models / places.get(widget, "transformers/dino/model.safetensors")

    def test_nothing_changed(self, state, models):
        assert state() == state()

    def test_a_file_replaced_by_one_of_the_same_date_and_size(self, state, file):
        before, status = state(), file.stat()
        other = file.with_name("other")
        other.write_bytes(bytes(reversed(file.read_bytes())))
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.replace(other, file)
        assert state() != before

    def test_a_file_rewritten_in_place_and_dated_back(self, state, file):
        before, status = state(), file.stat()
        content = file.read_bytes()
        with file.open("r+b") as opened:
            opened.write(bytes(reversed(content)))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert state() != before

    @posix
    def test_a_link_that_leads_elsewhere_now(self, state, file):
        first, second = file.with_name("first"), file.with_name("second")
        file.rename(first)
        os.link(first, second)  # the same in every number
        file.symlink_to(first)
        before = state()
        file.unlink()
        file.symlink_to(second)
        assert state() != before

    @posix
    def test_a_link_to_nowhere_is_no_error(self, state, file):
        (file.parent / "lost").symlink_to(file.parent / "gone")
        state()


def test_a_second_file_of_weights_counts(nodes, models):
    import onnx

    node = nodes["LoadEmbeddingDiscriminator"]
    file = models / "discriminators" / "mine.onnx"
    onnx.save_model(onnx.load(file), file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = node.fingerprint_inputs(discriminator="mine.onnx")
    assert node.fingerprint_inputs(discriminator="mine.onnx") == before
    weights = models / "discriminators" / "weights.bin"
    weights.write_bytes(bytes(weights.stat().st_size))
    assert node.fingerprint_inputs(discriminator="mine.onnx") != before
