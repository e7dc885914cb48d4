"""Folders of transformers that are wrong are refused in words; what lies beside the weights has no say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rectifid_core.discriminators.segmenter import load_segmenter
from rectifid_core.discriminators.subjects.detector import CLASSES as DETECTORS
from rectifid_core.discriminators.subjects.detector import load_subject_detector
from rectifid_core.discriminators.subjects.discriminator import CLASSES, load_subject_discriminator
from rectifid_core.networks.pretrained import PretrainedError
from rectifid_core.networks.pretrained_folders import find_cached
from tests.helpers import segmenter_folders, subject_folders

posix = pytest.mark.skipif(os.name != "posix", reason="a link takes an administrator here")


@pytest.fixture
def folder(tmp_path):
    """With DINOv2, to be damaged."""
    subject_folders.write_embedder(tmp_path / "dino")
    return tmp_path / "dino"


@pytest.fixture
def owl(tmp_path):
    """With OWL-ViT, to be damaged."""
    subject_folders.write_detector(tmp_path / "owl")
    return tmp_path / "owl"


def change(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def embedding(folder: Path) -> torch.Tensor:
    image = torch.rand(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    return load_subject_discriminator(folder, None).embed(image)


@pytest.mark.parametrize(
    "index",
    [
        "[1]",
        "{",
        "{}",
        '{"weight_map": ["model.safetensors"]}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": 7}}',
        '{"weight_map": "abc"}',
    ],
)
def test_an_index_that_says_nothing(folder, index):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(PretrainedError, match="index.json does not say in which files"):
        load_subject_discriminator(folder, None)


@pytest.mark.parametrize("name", ["../x.safetensors", "/x.safetensors", "sub/x.safetensors", "..", "a\0b", "x" * 300])
def test_an_index_of_names_that_are_no_files_of_the_folder(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(PretrainedError, match="outside of its own folder|lacks"):
        load_subject_discriminator(folder, None)


def test_an_index_of_a_part_of_the_weights(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(dict(list(weights.items())[:5]), folder / "a.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "a.safetensors"}}))
    with pytest.raises(PretrainedError, match="do not belong to its config.json"):
        load_subject_discriminator(folder, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_attention_heads": 3},
        {"num_attention_heads": 0},
        {"num_attention_heads": "many"},
        {"patch_size": 0},
        {"hidden_size": None},
        {"hidden_act": "magic"},
        {"num_hidden_layers": [2]},
        {"image_size": -1},
    ],
)
def test_a_configuration_that_makes_no_network(folder, changes):
    change(folder / "config.json", **changes)
    with pytest.raises(PretrainedError, match="do not belong to its config.json"):
        load_subject_discriminator(folder, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('{"crop_size": "large"}', "size 'large'"),
        ('{"crop_size": -3}', "size -3"),
        ('{"crop_size": 100000}', "size 100000"),
        ('{"crop_size": {"height": 28, "width": 56}}', "needed is a square"),
        ('{"size": [28, 28, 28]}', "needed is a square"),
        ('{"image_mean": [0.5, 0.5]}', "image_mean"),
        ('{"image_mean": 0.5}', "image_mean"),
        ('{"image_mean": ["a", "b", "c"]}', "image_mean"),
        ('{"image_mean": [NaN, 0.5, 0.5]}', "image_mean"),
        ('{"image_std": [0.0, 0.5, 0.5]}', "image_std"),
        ('{"image_std": [Infinity, 0.5, 0.5]}', "image_std"),
        ("[]", "no JSON object"),
        ('{"size": 2', "no JSON object"),
    ],
)
def test_preprocessing_that_no_network_can_want(folder, settings, message):
    (folder / "preprocessor_config.json").write_text(settings)
    with pytest.raises(PretrainedError, match=f"preprocessor_config.json .*{message}"):
        load_subject_discriminator(folder, None)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("vocab.json", "[]"),
        ("vocab.json", "{"),
        ("vocab.json", '{"a": "b"}'),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", '{"version": "1.0", "model": {"type": "magic"}}'),
        ("tokenizer_config.json", "["),
        ("merges.txt", "one\ntwo three four\n"),
    ],
)
def test_a_tokenizer_that_cannot_be_read(owl, file, content):
    (owl / file).write_text(content)
    with pytest.raises(PretrainedError, match=f"tokenizer in {owl}"):
        load_subject_detector(owl)


def test_a_tokenizer_of_another_network(owl):
    vocabulary = json.loads((owl / "vocab.json").read_text(encoding="utf-8"))
    change(owl / "vocab.json", extraordinary=len(vocabulary) + 5)
    with pytest.raises(PretrainedError, match=r"tokens up to \d+, and the network knows"):
        load_subject_detector(owl)


def test_weights_with_nan(folder):
    weights = load_file(folder / "model.safetensors")
    weights["layernorm.weight"][3] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(PretrainedError, match="have nan among them"):
        load_subject_discriminator(folder, None)


@pytest.mark.parametrize("content", ['{"base_model_name_or_path": "somebody/else", "peft_type": "LORA"}', "", "["])
def test_an_adapter_in_the_folder_is_not_passed_over(folder, content):
    """Transformers would apply it if peft is installed, and not look at it otherwise."""
    (folder / "adapter_config.json").write_text(content)
    with pytest.raises(PretrainedError, match="adapter for PEFT"):
        load_subject_discriminator(folder, None)


def test_a_real_adapter_of_peft(folder):
    peft = pytest.importorskip("peft")
    expected = embedding(folder)
    network = load_subject_discriminator(folder, None).network.transformer
    names = [name for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)]
    adapted = peft.get_peft_model(network, peft.LoraConfig(target_modules=names, init_lora_weights=False))
    adapted.save_pretrained(folder)
    assert (folder / "adapter_config.json").is_file()
    with pytest.raises(PretrainedError, match="adapter for PEFT"):
        load_subject_discriminator(folder, None)
    (folder / "adapter_config.json").unlink()
    torch.testing.assert_close(embedding(folder), expected)


def test_weights_that_the_configuration_names_beside_ours_are_not_read(folder):
    """Of newer transformers: config.json may name another file, which the checks and the digest would not cover."""
    expected = embedding(folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: -weight for name, weight in weights.items()}, folder / "other.safetensors", {"format": "pt"})
    change(folder / "config.json", transformers_weights="other.safetensors")
    torch.testing.assert_close(embedding(folder), expected)


def test_quantised_weights_are_refused(folder):
    change(folder / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(PretrainedError, match="quantised"):
        load_subject_discriminator(folder, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_files_may_be_replaced_while_their_network_is_in_use(folder, dtype):
    """Memory that is mapped from a file which gets shorter ends the process."""
    dino = load_subject_discriminator(folder, None, dtype=dtype)
    image = torch.rand(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    before = dino.embed(image)
    (folder / "model.safetensors").write_bytes(b"")
    assert torch.equal(dino.embed(image), before)


def test_half_precision_weights_become_whole(folder):
    expected = embedding(folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: w.half() for name, w in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    change(folder / "config.json", torch_dtype="float16", dtype="float16")
    assert {p.dtype for p in load_subject_discriminator(folder, None).network.parameters()} == {torch.float32}
    torch.testing.assert_close(embedding(folder), expected, atol=1e-2, rtol=0)


def test_a_segmenter_with_a_wrong_configuration(tmp_path):
    segmenter_folders.write_segmenter(tmp_path / "segformer")
    change(tmp_path / "segformer" / "config.json", depths=[1, 1])
    with pytest.raises(PretrainedError, match="do not belong to its config.json"):
        load_segmenter(tmp_path / "segformer")


class TestCache:
    @pytest.fixture
    def snapshot(self, tmp_path):
        def write(revision: str, repository: str = "models--facebook--dinov2-small", kind: str = "dinov2") -> Path:
            folder = tmp_path / repository / "snapshots" / revision
            folder.mkdir(parents=True)
            (folder / "config.json").write_text(json.dumps({"model_type": kind}))
            return folder

        return write

    def main(self, snapshot: Path) -> None:
        refs = snapshot.parents[1] / "refs"
        refs.mkdir(exist_ok=True)
        (refs / "main").write_text(snapshot.name)

    def test_main_is_taken_and_not_what_was_fetched_last(self, tmp_path, snapshot):
        old, new = snapshot("1" * 40), snapshot("2" * 40)
        os.utime(old, (1e9, 1e9))
        self.main(old)
        assert find_cached(tmp_path, CLASSES) == {"facebook/dinov2-small": old}
        self.main(new)
        assert find_cached(tmp_path, CLASSES) == {"facebook/dinov2-small": new}

    def test_a_main_that_was_fetched_without_these_files(self, tmp_path, snapshot):
        self.main(snapshot("1" * 40))
        (snapshot("2" * 40).parents[1] / "refs" / "main").write_text("3" * 40)
        assert find_cached(tmp_path, CLASSES) == {}

    @pytest.mark.parametrize("main", ["../../../evil", "", "\0", "2" * 40 + "/.."])
    def test_a_reference_that_is_no_revision(self, tmp_path, snapshot, main):
        (tmp_path / "evil").mkdir()
        (tmp_path / "evil" / "config.json").write_text('{"model_type": "dinov2"}')
        folder = snapshot("1" * 40)
        (folder.parents[1] / "refs").mkdir()
        (folder.parents[1] / "refs" / "main").write_text(main)
        assert find_cached(tmp_path, CLASSES) == {}

    def test_names_that_no_repository_has(self, tmp_path, snapshot):
        snapshot("1" * 40, "models--a--b--c")
        snapshot("1" * 40, "models--")
        assert find_cached(tmp_path, CLASSES) == {}

    def test_only_the_kinds_that_are_asked_for(self, tmp_path, snapshot):
        self.main(snapshot("1" * 40))
        owl = snapshot("1" * 40, "models--google--owlvit", "owlvit")
        self.main(owl)
        assert find_cached(tmp_path, DETECTORS) == {"google/owlvit": owl}
