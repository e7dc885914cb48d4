"""Segmentation guidance, as a graph does it; each bad input with its message."""

from __future__ import annotations

import os

import comfy.clip_vision
import comfy.model_management
import folder_paths
import huggingface_hub
import pytest
import torch

from tests.helpers.places import needs_weights
from tests.helpers.segmenter_folders import LABELS, write_segmenter


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("transformers")
    with torch.inference_mode(False):
        write_segmenter(root / "segformer-b0")
        write_segmenter(root / "facebook" / "mask2former", "mask2former")
    return root


class TestSegmentation:
    @pytest.fixture(autouse=True)
    def models(self, written, tmp_path, monkeypatch):
        """The models folder has both; the Hugging Face cache is not there."""
        monkeypatch.setitem(folder_paths.folder_names_and_paths, "transformers", ([str(written)], set()))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        return written

    @pytest.fixture
    def guide(self, run):
        def guide(**changes):
            mask = torch.zeros(1, 32, 32)
            mask[:, :, :16] = 1
            inputs = {"segmenter": "segformer-b0", "mask": mask, "label": "sky", **changes}
            return run("SegmentationGuidance", **inputs).result[0]

        return guide

    def test_the_list_has_what_is_in_the_folders(self, nodes):
        options = nodes["SegmentationGuidance"].INPUT_TYPES()["required"]["segmenter"][1]["options"]
        assert options[0] == "embedded" and sorted(options[1:]) == ["facebook/mask2former", "segformer-b0"]

    @pytest.mark.parametrize("segmenter", ["segformer-b0", "facebook/mask2former"])
    def test_it_moves_the_label_under_the_mask(self, guide, sample, segmenter):
        report = sample(guidance=guide(segmenter=segmenter), iterations=4).result[2]
        assert min(row[0] for row in report.energy[1:]) < report.energy[0][0]
        assert list(report.settings["discriminators"]) == [segmenter.split("/")[-1]]

    def test_afterwards_the_host_has_its_network_as_before(self, guide, sample, job):
        guidance = guide()
        (network,) = guidance.segmenter.networks
        before = {name: weight.clone() for name, weight in network.state_dict().items()}
        first, again = (sample(guidance=guidance).result[1] for _ in range(2))
        assert torch.equal(first, again)
        assert all(torch.equal(before[name], weight) for name, weight in network.state_dict().items())
        (patcher,) = guidance.segmenter.patchers
        assert patcher in [each.model for each in comfy.model_management.current_loaded_models]
        assert job.ksampler().isfinite().all()

    def test_a_changed_folder_is_loaded_again(self, nodes, models):
        fingerprint = nodes["SegmentationGuidance"].fingerprint_inputs
        before = fingerprint(segmenter="segformer-b0", label="sky")
        assert fingerprint(segmenter="nvidia/segformer-b0", label="sky") == before
        os.utime(models / "segformer-b0" / "model.safetensors", (1e9, 1e9))
        assert fingerprint(segmenter="segformer-b0", label="sky") != before

    def test_bad_inputs(self, guide, nodes, models):
        with pytest.raises(ValueError, match=f"unicorn.*{', '.join(LABELS)}"):
            guide(label="unicorn")
        with pytest.raises(ValueError, match="mask is empty.*sky"):
            guide(mask=torch.zeros(1, 64, 64))
        with pytest.raises(ValueError, match="2 masks"):
            guide(mask=torch.ones(2, 8, 8))
        said = nodes["SegmentationGuidance"].validate_inputs(segmenter="nvidia/segformer-b5")
        assert f"There is no segmenter nvidia/segformer-b5 in {models}" in said and "model.safetensors" in said
        assert nodes["SegmentationGuidance"].validate_inputs(segmenter="nvidia/segformer-b0") is True

    def test_a_mask_of_another_shape(self, guide, sample):
        with pytest.raises(ValueError, match="mask.*32 x 64.*64 x 64"):
            sample(guidance=guide(mask=torch.ones(1, 64, 32)))

    def test_no_folder_at_all(self, nodes, guide, monkeypatch, tmp_path):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, "transformers", ([str(tmp_path / "empty")], set()))
        assert nodes["SegmentationGuidance"].INPUT_TYPES()["required"]["segmenter"][1]["options"] == ["embedded"]
        with pytest.raises(ValueError, match=f"segformer-b0.*{tmp_path / 'empty'}"):
            guide()

    @needs_weights
    def test_the_embedded_segmenter_finds_the_hats_of_the_demos_people(self, run):
        """A hat is found where the renderer has drawn it: in the upper part."""
        with_hat, without = (
            run("DrawDemoPortrait", identity=3, prompt=f"a person {hat} hat, gray background").result[0].movedim(-1, 1)
            for hat in ("in a red", "without a")
        )
        (guidance,) = run("SegmentationGuidance", mask=torch.ones(1, 64, 64)).result
        assert guidance.segmenter.labels == ["background", "face", "hair", "beard", "hat", "shirt"]
        covered, bare = (guidance.segmenter.log_probabilities(each).argmax(dim=1)[0] for each in (with_hat, without))
        hat, shirt = (covered == guidance.segmenter.class_of(label) for label in ("hat", "shirt"))
        assert hat[: len(hat) // 2].float().mean() > 0.15 and not hat[len(hat) // 2 :].any()
        assert shirt[-1].float().mean() > 0.5 and not (bare == guidance.segmenter.class_of("hat")).any()

    def test_a_pack_without_its_weights(self, nodes, pack, monkeypatch, tmp_path):
        monkeypatch.setattr(pack("nodes.host.networks.demo"), "WEIGHTS", tmp_path)
        said = nodes["SegmentationGuidance"].validate_inputs(segmenter="embedded")
        assert f"{tmp_path / 'segmenter' / 'config.json'} is missing. Install the whole pack again" in said
