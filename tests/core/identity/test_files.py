"""Identities as files: what comes back, and what is refused, each with its message."""

from __future__ import annotations

import json
import pickle
from datetime import datetime, timedelta, timezone

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rectifid_core.identity.files import IdentityFileError, load_identity, save_identity
from tests.helpers.identities import discriminator, identity
from tests.helpers.worlds import rng


@pytest.fixture
def file(tmp_path):
    save_identity(identity(), tmp_path / "me.safetensors")
    return tmp_path / "me.safetensors"


@pytest.fixture
def forge(file):
    """`forge(embeddings=..., metadata={...})` writes the file anew with other tensors (None: without) or metadata."""

    def forged(metadata=None, **changes):
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
            metadata = opened.metadata() | (metadata or {})
        tensors = {name: tensor for name, tensor in {**tensors, **changes}.items() if tensor is not None}
        save_file(tensors, file, metadata)
        return file

    return forged


@pytest.mark.parametrize("query", [None, torch.rand(3, 5)])
@pytest.mark.parametrize("matching", ["mean", "nearest"])
def test_what_was_saved_comes_back(tmp_path, query, matching):
    saved = identity(query=query, matching=matching)
    save_identity(saved, tmp_path / "me.safetensors")
    loaded = load_identity(tmp_path / "me.safetensors", discriminator())
    assert torch.equal(loaded.embeddings, saved.embeddings) and torch.equal(loaded.weights, saved.weights)
    torch.testing.assert_close(loaded.crops, saved.crops, atol=0.5 / 255 + 1e-6, rtol=0)
    assert loaded.query is query or torch.equal(loaded.query, query)
    assert loaded.matching == matching and loaded.references == () and loaded.doubts == ()
    others = torch.rand(4, 10, generator=rng(1))
    torch.testing.assert_close(loaded.similarity(others), saved.similarity(others), atol=0, rtol=0)


def test_the_file_says_what_it_is(file):
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    created = datetime.fromisoformat(metadata.pop("created"))
    assert created.utcoffset() == timedelta(0) and datetime.now(timezone.utc) - created < timedelta(minutes=5)
    assert metadata == {
        "format": "rectifid-identity",
        "version": "3",
        "discriminator": "first",
        "digest": "a" * 64,
        "preprocessing": "8 x 8 pixels, rgb, mean 0.5, std 0.5, box 0 0 1 1",
        "matching": "mean",
        "references": "3",
        "embedding_width": "10",
        "crop_size": "8",
    }


def test_a_file_that_exists_is_not_overwritten(file):
    before = file.read_bytes()
    with pytest.raises(IdentityFileError, match="exists already"):
        save_identity(identity(matching="nearest"), file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    broken = identity(embeddings=torch.rand(3, 10).to("meta"))
    with pytest.raises((NotImplementedError, RuntimeError)):
        save_identity(broken, tmp_path / "me.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_another_discriminator_is_refused(file):
    with pytest.raises(IdentityFileError, match=r"first \(aaaaaaaa\).*second \(bbbbbbbb\)"):
        load_identity(file, discriminator("second", "b" * 64))


def test_a_renamed_discriminator_is_the_same(file):
    assert load_identity(file, discriminator("renamed")).recogniser.name == "renamed"


def test_another_input_size_is_refused(file):
    with pytest.raises(IdentityFileError, match="8 x 8.*12 x 12"):
        load_identity(file, discriminator(size=12))


class Payload:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5, "torch"])
def test_a_pickle_by_another_name_is_not_opened(tmp_path, protocol):
    path, payload = tmp_path / "me.safetensors", Payload(tmp_path / "harm")
    if protocol == "torch":
        torch.save({"embeddings": payload}, path)
    else:
        path.write_bytes(pickle.dumps({"embeddings": payload}, protocol))
    with pytest.raises(IdentityFileError, match="me.safetensors.*pickle"):
        load_identity(path, discriminator())
    assert not payload.path.exists()


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_part_of_a_file_is_refused(file, length):
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(IdentityFileError, match="me.safetensors.*part"):
        load_identity(file, discriminator())


def test_a_header_that_points_past_the_end_is_refused(tmp_path):
    header = json.dumps({"embeddings": {"dtype": "F32", "shape": [1, 2**40], "data_offsets": [0, 2**42]}}).encode()
    (tmp_path / "me.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(IdentityFileError, match="part"):
        load_identity(tmp_path / "me.safetensors", discriminator())


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nobody.safetensors"):
        load_identity(tmp_path / "nobody.safetensors", discriminator())


def test_another_kind_of_safetensors_is_refused(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "lora.safetensors")
    with pytest.raises(IdentityFileError, match="lora.safetensors.*no identity"):
        load_identity(tmp_path / "lora.safetensors", discriminator())


EMBEDDINGS = identity().embeddings
WITH_NAN = EMBEDDINGS.index_fill(1, torch.tensor([3]), torch.nan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {"version": "4"}}, "version 4.*version 3"),
        ({"metadata": {"matching": "furthest"}}, "furthest.*mean, nearest"),
        ({"embeddings": None, "weights": None}, "embeddings.*weights"),
        ({"crops": None}, "crops"),
        ({"embeddings": torch.ones(10)}, r"embeddings.* \(10,\)"),
        ({"embeddings": torch.ones(())}, r"embeddings.* \(\)"),
        ({"embeddings": torch.ones(0, 10)}, r"embeddings.* \(0, 10\)"),
        ({"embeddings": torch.ones(3, 0)}, r"embeddings.* \(3, 0\)"),
        ({"embeddings": WITH_NAN}, "embeddings.*nan"),
        ({"embeddings": torch.ones(3, 10)}, "no unit vectors"),
        ({"embeddings": torch.ones(3, 10, dtype=torch.int64)}, "embeddings.*torch.int64"),
        ({"weights": torch.ones(2)}, r"weights.* \(2,\)"),
        ({"weights": torch.tensor([1, torch.inf, 1])}, "weights.*nan or infinite"),
        ({"weights": torch.tensor([1.0, -1.0, 0.0])}, "weights.*below 0, or all 0"),
        ({"weights": torch.zeros(3)}, "weights.*below 0, or all 0"),
        ({"crops": torch.zeros(3, 3, 8, 8)}, "crops.*torch.float32"),
        ({"crops": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)}, r"crops.* \(2, 3, 8, 8\)"),
        ({"crops": torch.zeros(3, 4, 8, 8, dtype=torch.uint8)}, r"crops.* \(4, 8, 8\)"),
        ({"query": torch.zeros(3)}, r"query.* \(3,\)"),
        ({"query": torch.full((3, 4), torch.inf)}, "query.*nan"),
    ],
)
def test_a_damaged_identity_is_refused(forge, changes, message):
    with pytest.raises(IdentityFileError, match=f"me.safetensors.*{message}"):
        load_identity(forge(**changes), discriminator())
