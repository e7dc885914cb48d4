"""An identity belongs to a recogniser's weights and to how it prepares pictures for them."""

from __future__ import annotations

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rectifid_core.guidance.combination import combine
from rectifid_core.guidance.identity import IdentityGuidance
from rectifid_core.guidance.weighted_sum import Schedule
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.identity.files import IdentityFileError, load_identity, save_identity
from rectifid_core.identity.identity import Recogniser
from tests.helpers.identities import discriminator, identity, references

OTHERS = {
    "mean": {"mean": 0.0},
    "a mean of one channel": {"mean": (0.5, 0.5, 0.501)},
    "std": {"std": 0.25},
    "channel order": {"channel_order": "bgr"},
    "box": {"box": (0.1, 0.0, 1.0, 1.0)},
}


@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS)
def test_a_file_is_refused_under_other_settings_of_the_same_weights(tmp_path, settings):
    """With them the same picture is somebody else: 0.62 where 1 is due, in the report of this fault."""
    save_identity(identity(), tmp_path / "me.safetensors")
    other = discriminator(**settings)
    with pytest.raises(IdentityFileError, match="other settings.*mean 0.5, std 0.5"):
        load_identity(tmp_path / "me.safetensors", other)
    again = encode_identity(other, references(1))
    save_identity(again, tmp_path / "again.safetensors")
    assert load_identity(tmp_path / "again.safetensors", other).similarity(again.embeddings) > 0.999


def test_the_name_and_the_type_of_numbers_do_not_matter(tmp_path):
    save_identity(identity(), tmp_path / "me.safetensors")
    half = discriminator("renamed")
    half.network.bfloat16()
    assert load_identity(tmp_path / "me.safetensors", half).recogniser == identity().recogniser


def test_recognisers_are_equal_whose_embeddings_mean_the_same():
    mine = Recogniser.of(discriminator())
    assert mine == Recogniser.of(discriminator("renamed")) and hash(mine) == hash(
        Recogniser.of(discriminator("renamed"))
    )
    assert mine != Recogniser.of(discriminator(digest="b" * 64))
    assert all(mine != Recogniser.of(discriminator(**settings)) for settings in OTHERS.values())


def test_a_file_of_the_first_version_is_refused_and_the_pack_is_not_blamed(tmp_path):
    save_identity(identity(), tmp_path / "me.safetensors")
    with safe_open(tmp_path / "me.safetensors", framework="pt") as file:
        metadata = {name: each for name, each in file.metadata().items() if name != "preprocessing"}
    tensors = load_file(tmp_path / "me.safetensors")
    save_file(tensors, tmp_path / "old.safetensors", {**metadata, "version": "1"})
    with pytest.raises(IdentityFileError, match="version 1.*encode") as refused:
        load_identity(tmp_path / "old.safetensors", discriminator())
    assert "update the pack" not in str(refused.value)


def test_identities_under_different_settings_are_not_told_apart_by_one_of_them():
    """Each is compared by its own network, although both have the same weights."""
    eyes = [discriminator(), discriminator(mean=0.0)]
    for eye in eyes:
        eye.detects = True
    terms = {
        str(i): (IdentityGuidance(encode_identity(eye, references(1)), eye), Schedule()) for i, eye in enumerate(eyes)
    }
    observation = combine(terms).energy(views=0)(references(1), 0)
    assert all(term.similarity > 0.999 for term in observation.terms.values())
