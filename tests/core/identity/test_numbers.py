"""Numbers that are none, too large or too small: refused where they enter, or of no consequence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from rectifid_core.identity.encoding import AT_ONCE, encode_identity
from rectifid_core.identity.files import IdentityFileError, _width, load_identity, save_identity
from rectifid_core.identity.measuring import measure
from tests.helpers.identities import discriminator, identity, references


def broken(value: float):
    """A recogniser whose last weight is no number."""
    eye = discriminator("broken")
    eye.network[1].weight.data[3, 5] = value
    return eye


class Nothing(nn.Module):
    def forward(self, x):
        return x.new_zeros(len(x), 4)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("count", [1, 2])
def test_a_recogniser_that_gives_nan_makes_no_identity(value, count):
    with pytest.raises(FloatingPointError, match="broken makes nan.*fp32"):
        encode_identity(broken(value), references(count))


@pytest.mark.parametrize("count", [1, 2])
def test_nor_does_another_kind_of_discriminator(count):
    eye = discriminator()
    eye.embed = lambda crops: torch.full((len(crops), 4), torch.nan)
    place = "the reference image" if count == 1 else "reference image 1 of 2"
    with pytest.raises(ValueError, match=f"first makes no embedding of {place}, but nan.*fp32"):
        encode_identity(eye, references(count))


def test_a_mean_of_nan_is_found_out():
    eye = discriminator()
    eye.mean = torch.tensor(torch.nan)
    with pytest.raises(FloatingPointError, match="nan"):
        encode_identity(eye, references(1))


def test_a_recogniser_that_gives_zeros_makes_no_identity():
    eye = discriminator()
    eye.network = Nothing()
    with pytest.raises(ValueError, match="no embedding of the reference image, but zeros"):
        encode_identity(eye, references(1))


def test_a_query_of_nan_makes_no_identity():
    eye = discriminator()
    eye.image_query = lambda image, region: torch.full((5,), torch.nan)
    with pytest.raises(ValueError, match="the detector of first .*nan"):
        encode_identity(eye, references(1))


def test_references_that_cancel_each_other_make_nobody():
    eye = discriminator()
    eye.embed = lambda crops: torch.tensor([[1.0, 0.0], [-1.0, 0.0]])[: len(crops)]
    with pytest.raises(ValueError, match="nothing in common"):
        encode_identity(eye, references(2))
    assert encode_identity(eye, references(2), matching="nearest").matching == "nearest"


@pytest.mark.parametrize("name", ["embeddings", "crops", "query"])
def test_what_is_no_number_is_not_saved(tmp_path, name):
    mine = identity(query=torch.rand(3, 5))
    spoilt = replace(mine, **{name: getattr(mine, name) * torch.nan})
    with pytest.raises(IdentityFileError, match="nan.*encode the reference images again"):
        save_identity(spoilt, tmp_path / "me.safetensors")
    assert not list(tmp_path.iterdir())


def test_nan_is_not_measured():
    with pytest.raises(FloatingPointError, match="broken makes nan"):
        measure(identity(), broken(torch.nan), references(1))


@pytest.mark.parametrize("unit", [1e-30, 1e-300, 1e30, 1e38, 1e300])
@pytest.mark.parametrize("matching", ["mean", "nearest"])
def test_only_the_weights_ratio_counts(tmp_path, unit, matching):
    plain = encode_identity(discriminator(), references(), weights=(1, 0.5, 0), matching=matching)
    scaled = encode_identity(discriminator(), references(), weights=(unit, 0.5 * unit, 0), matching=matching)
    others = encode_identity(discriminator(), references(4, seed=1)).embeddings
    torch.testing.assert_close(scaled.similarity(others), plain.similarity(others))
    save_identity(scaled, tmp_path / "me.safetensors")
    loaded = load_identity(tmp_path / "me.safetensors", discriminator())
    torch.testing.assert_close(loaded.similarity(others), plain.similarity(others))


def test_a_weight_that_is_nothing_beside_another_leaves_that_one():
    both = encode_identity(discriminator(), references(2), weights=(1e30, 1e-30))
    torch.testing.assert_close(both.embedding, both.embeddings[0])


def forged(tmp_path, **changes):
    save_identity(identity(), tmp_path / "me.safetensors")
    with safe_open(tmp_path / "me.safetensors", framework="pt") as file:
        metadata = file.metadata()
    tensors = {**load_file(tmp_path / "me.safetensors"), **changes}
    save_file(tensors, tmp_path / "forged.safetensors", metadata)
    return tmp_path / "forged.safetensors"


@pytest.mark.parametrize("width", [9, 11])
def test_embeddings_of_another_width_are_refused(tmp_path, width):
    path = forged(tmp_path, embeddings=nn.functional.normalize(torch.ones(3, width), dim=1))
    with pytest.raises(IdentityFileError, match=f"its embeddings have {width} numbers, and those of first 10"):
        load_identity(path, discriminator())


def test_the_width_is_asked_where_the_network_is():
    """Networks that were converted from ONNX may have all weights as buffers, on a device of their own."""
    eye = discriminator()
    for name in ("weight", "bias"):
        value = getattr(eye.network[1], name).data
        delattr(eye.network[1], name)
        eye.network[1].register_buffer(name, value.to("meta"))
    devices = []
    eye.embed = lambda crops: devices.append(crops.device.type) or torch.zeros(1, 10)
    assert _width(eye) == 10 and devices == ["meta"]


@pytest.mark.parametrize("name", ["embeddings", "weights", "query"])
@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_numbers_of_8_bits_are_refused(tmp_path, name, kind):
    shape = {"embeddings": (3, 10), "weights": (3,), "query": (3, 5)}[name]
    path = forged(tmp_path, **{name: torch.ones(shape).to(kind)})
    with pytest.raises(IdentityFileError, match=f"its {name} are torch.float8"):
        load_identity(path, discriminator())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_16_and_64_bits_are_not(tmp_path, kind):
    path = forged(tmp_path, embeddings=identity().embeddings.to(kind))
    loaded = load_identity(path, discriminator())
    torch.testing.assert_close(loaded.similarity(loaded.embeddings.float())[0], torch.tensor(1.0), atol=0.2, rtol=0)


def test_many_references_are_embedded_as_one_by_one():
    many = encode_identity(discriminator(), references(2 * AT_ONCE + 3))
    single = torch.cat([encode_identity(discriminator(), [each]).embeddings for each in references(2 * AT_ONCE + 3)])
    torch.testing.assert_close(many.embeddings, single)


def test_work_on_many_references_can_be_ended_between_any_two():
    calls = []

    def cancelled():
        calls.append(1)
        if len(calls) == 5:
            raise InterruptedError

    eye = discriminator()
    eye.crop = lambda image, regions, crop=eye.crop: calls.append("crop") or crop(image, regions)
    with pytest.raises(InterruptedError):
        encode_identity(eye, references(300), before_each=cancelled)
    assert calls.count("crop") < 5
