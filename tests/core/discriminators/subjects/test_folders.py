"""Folders of subject models: what is found, and what is refused."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from rectifid_core.discriminators.subjects import detector as subject_detector
from rectifid_core.discriminators.subjects import discriminator as subjects
from rectifid_core.discriminators.subjects.discriminator import load_subject_discriminator
from rectifid_core.networks.pretrained import PretrainedError, weight_files
from rectifid_core.networks.pretrained_folders import find_cached, find_folders, model_type
from tests.helpers import subject_folders


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
            weight_files(folder)

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

    @pytest.mark.parametrize("fraction", [0.0, 0.0001, 0.5, 0.999])
    def test_a_part_of_a_file(self, folder, fraction):
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: int(fraction * len(content))])
        self.refuses(folder, "only a part of one; download it again")

    def test_a_network_of_another_kind(self, folders, folder):
        root, _ = folders
        self.refuses(root / "owlvit", "of the kind owlvit; needed is dinov2 or .*facebook/dinov2-base")
        with pytest.raises(PretrainedError, match="dinov2.*owlvit or owlv2"):
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
        with pytest.raises(PretrainedError, match="no tokenizer"):
            load_subject_discriminator(folder, tmp_path / "owl")

    def change_config(self, folder, **changes):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize("write", [subject_folders.write_embedder, subject_folders.write_detector])
def test_the_networks_of_tests_are_the_same_whatever_was_drawn_before(tmp_path, write):
    networks = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            networks.append(write(tmp_path / str(seed)).state_dict())
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
