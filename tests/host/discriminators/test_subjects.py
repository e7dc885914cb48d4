"""Subjects in the host: DINO and OWL of transformers, tiny, from the folders where users put them."""

from __future__ import annotations

import asyncio
import inspect
import os

import comfy.model_management
import execution
import folder_paths
import huggingface_hub
import pytest
import torch

import nodes as host_nodes
from tests.helpers.subject_folders import write_detector, write_embedder

NODE = "LoadSubjectDiscriminator"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("transformers")
    with torch.inference_mode(False):
        write_embedder(root / "dinov2-base")
        write_detector(root / "google" / "owlvit-base-patch32")
    return root


@pytest.fixture(autouse=True)
def models(written, tmp_path, monkeypatch):
    """The models folder has both; the Hugging Face cache is not there."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "transformers", ([str(written)], set()))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return written


@pytest.fixture
def load(run):
    def load(**changes):
        inputs = {"embedder": "dinov2-base", "detector": "google/owlvit-base-patch32", **changes}
        return run(NODE, **inputs).result[0]

    return load


@pytest.fixture
def dog():
    """The host's IMAGE, 96 x 80."""
    return (
        torch.rand(1, 6, 5, 3, generator=torch.Generator().manual_seed(3))
        .repeat_interleave(16, 1)
        .repeat_interleave(16, 2)
    )


@pytest.fixture
def options(nodes):
    def options(widget):
        return nodes[NODE].INPUT_TYPES()["required"][widget][1]["options"]

    return options


def test_the_lists_have_what_is_in_the_folders(options, models, tmp_path):
    assert options("embedder") == ["dinov2-base"]
    assert options("detector") == ["none", "google/owlvit-base-patch32"]
    snapshot = tmp_path / "hub" / "models--facebook--dinov2-small" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(models / "dinov2-base")
    assert options("embedder") == ["dinov2-base", "facebook/dinov2-small"]


def test_it_is_loaded_by_the_host(load):
    discriminator = load()
    assert discriminator.name == "dinov2-base with owlvit-base-patch32"
    assert (discriminator.noun, discriminator.threshold) == ("subject", 0.1)
    assert discriminator.load() == comfy.model_management.get_torch_device()
    loaded = [each.model for each in comfy.model_management.current_loaded_models]
    assert len(discriminator.patchers) == 2 and all(patcher in loaded for patcher in discriminator.patchers)
    assert all(patcher.model_size() > 0 for patcher in discriminator.patchers)
    weights = [p for network in discriminator.networks for p in network.parameters()]
    assert not any(weight.is_inference() or weight.requires_grad for weight in weights)
    comfy.model_management.unload_all_models()
    assert not any(
        patcher in (each.model for each in comfy.model_management.current_loaded_models)
        for patcher in discriminator.patchers
    )
    discriminator.load()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_words_choose_the_reference_and_its_look_guides(load, run, sample, dog, precision):
    discriminator = load(precision=precision, detection_threshold=0.01)
    identity, crops, boxes = run(
        "EncodeReferenceIdentity", discriminator=discriminator, images=dog, text="a dog"
    ).result
    assert crops.shape == (1, 28, 28, 3) and identity.identity.query.shape == (1, 32)
    assert not identity.identity.query.is_inference() and identity.identity.query.dtype == torch.float32
    report = sample(guidance=identity, iterations=4).result[2]
    assert max(row[0] for row in report.similarity[1:]) > report.similarity[0][0]


def test_a_mask_chooses_the_reference(load, run, sample, dog):
    mask = torch.zeros(1, 96, 80)
    mask[:, 16:80, 8:72] = 1
    for detector in ("none", "google/owlvit-base-patch32"):
        discriminator = load(detector=detector, detection_threshold=0.01)
        identity = run("EncodeReferenceIdentity", discriminator=discriminator, images=dog, mask=mask).result[0]
        assert identity.identity.references[0].chosen.box == (8, 16, 72, 80)
        (guidance,) = run("IdentityGuidance", identity=identity, pixels=1.0).result
        report = sample(guidance=guidance, iterations=4).result[2]
        assert max(row[0] for row in report.similarity[1:]) > report.similarity[0][0]


def test_afterwards_the_host_has_its_networks_as_before(load, run, sample, job, dog):
    discriminator = load(detection_threshold=0.01)
    identity = run("EncodeReferenceIdentity", discriminator=discriminator, images=dog).result[0]
    before = {
        name: weight.clone() for network in discriminator.networks for name, weight in network.state_dict().items()
    }
    first, again = (sample(guidance=identity).result[1] for _ in range(2))
    assert torch.equal(first, again)
    after = {name: weight for network in discriminator.networks for name, weight in network.state_dict().items()}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert job.ksampler().isfinite().all()


def test_words_without_a_detector_are_refused(load, run, dog):
    with pytest.raises(ValueError, match="a dog.*without a detector"):
        run("EncodeReferenceIdentity", discriminator=load(detector="none"), images=dog, text="a dog")


def test_a_changed_folder_is_loaded_again(nodes, models):
    fingerprint = nodes[NODE].fingerprint_inputs
    names = {"embedder": "dinov2-base", "detector": "google/owlvit-base-patch32", "precision": "fp32"}
    before = fingerprint(**names)
    assert fingerprint(**names) == before
    os.utime(models / "google" / "owlvit-base-patch32" / "model.safetensors", (1e9, 1e9))
    assert fingerprint(**names) != before
    assert fingerprint(**{**names, "detector": "none"}) == before[: len(list((models / "dinov2-base").iterdir()))]


class TestMissing:
    def validate(self, nodes, monkeypatch, **inputs):
        """What the host says of a graph with only this node, before it runs anything."""
        monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, NODE, nodes[NODE])
        inputs = {"detector": "none", "precision": "fp32", "detection_threshold": 0.1, **inputs}
        prompt = {"1": {"class_type": NODE, "inputs": inputs}}
        arguments = {"prompt_id": "p", "prompt": prompt, "item": "1", "validated": {}}
        names = inspect.signature(execution.validate_inputs).parameters
        valid, errors, _ = asyncio.run(execution.validate_inputs(*(arguments[n] for n in names if n in arguments)))
        return valid, " ".join(error["details"] for error in errors)

    def test_another_name_of_the_same(self, nodes, monkeypatch):
        """A shared workflow works whether or not the author's name is in the folder's."""
        for name in ("dinov2-base", "facebook/dinov2-base"):
            assert self.validate(nodes, monkeypatch, embedder=name) == (True, "")
        assert self.validate(nodes, monkeypatch, embedder="dinov2-base", detector="owlvit-base-patch32")[0]

    def test_a_folder_of_a_shared_workflow(self, nodes, monkeypatch, models, tmp_path):
        valid, said = self.validate(nodes, monkeypatch, embedder="facebook/dinov2-giant")
        assert not valid
        assert f"There is no embedder facebook/dinov2-giant in {models}" in said and str(tmp_path / "hub") in said
        assert "model.safetensors" in said and "facebook/dinov2-base on huggingface.co" in said
        valid, said = self.validate(nodes, monkeypatch, embedder="dinov2-base", detector="owl9")
        assert not valid and "There is no detector owl9" in said and "google/owlv2" in said

    def test_no_folder_at_all(self, nodes, run, options, monkeypatch, tmp_path):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, "transformers", ([str(tmp_path / "empty")], set()))
        (placeholder,) = options("embedder")
        assert options("detector") == ["none"]
        for said in (self.validate(nodes, monkeypatch, embedder=placeholder)[1], self.error_of(run, placeholder)):
            assert f"There is no embedder in {tmp_path / 'empty'}" in said and "press R" in said

    def error_of(self, run, embedder):
        with pytest.raises(ValueError) as raised:
            run(NODE, embedder=embedder)
        return str(raised.value)
