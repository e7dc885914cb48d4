"""Whatever the identity, its file gives it back; whatever the bytes, a file is refused in words or is an identity."""

from __future__ import annotations

import json
import math

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rectifid_core.identity.files import IdentityFileError, load_identity, save_identity
from rectifid_core.identity.identity import MATCHINGS, Identity, Recogniser
from tests.helpers.identities import discriminator, identity

EYE = discriminator()
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def identities(draw) -> Identity:
    count = draw(st.integers(1, 5))
    seed = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    weights = draw(st.lists(st.floats(0, 1e300), min_size=count, max_size=count).filter(any))
    query = torch.randn(count, draw(st.integers(1, 4)), generator=seed) if draw(st.booleans()) else None
    return Identity(
        Recogniser.of(EYE),
        torch.nn.functional.normalize(torch.randn(count, 10, generator=seed), dim=1),
        torch.rand(count, 3, 8, 8, generator=seed),
        torch.rand(count, 3, generator=seed),
        torch.tensor(weights, dtype=torch.float64),
        draw(st.sampled_from(MATCHINGS)),
        query,
    )


@quick
@given(identities(), st.integers(0, 2**31))
def test_what_is_saved_comes_back(tmp_path_factory, saved, seed):
    path = tmp_path_factory.mktemp("identity") / "me.safetensors"
    save_identity(saved, path)
    loaded = load_identity(path, EYE)
    others = torch.nn.functional.normalize(torch.randn(7, 10, generator=torch.Generator().manual_seed(seed)), dim=1)
    similarity = loaded.similarity(others)
    assert torch.equal(similarity, saved.similarity(others))
    assert (similarity.abs() <= 1 + 1e-5).all()
    torch.testing.assert_close(loaded.crops, saved.crops, atol=0.5 / 255 + 1e-6, rtol=0)
    assert loaded.matching == saved.matching and (loaded.query is None) == (saved.query is None)


@quick
@given(st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3), st.floats(-290, 290))
def test_a_common_factor_of_the_weights_does_not_matter(weights, exponent):
    plain = identity(weights=torch.tensor(weights, dtype=torch.float64))
    scaled = identity(weights=torch.tensor(weights, dtype=torch.float64) * 10**exponent)
    torch.testing.assert_close(scaled.embedding, plain.embedding)
    assert math.isclose(scaled.embedding.norm().item(), 1, rel_tol=1e-5)


@quick
@given(st.data())
def test_a_file_with_changed_bytes_is_refused_in_words_or_still_an_identity(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("identity") / "me.safetensors"
    save_identity(identity(query=torch.rand(3, 4)), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    path.write_bytes(content)
    try:
        loaded = load_identity(path, EYE)
    except IdentityFileError as error:
        assert "me.safetensors" in str(error)
    else:
        assert loaded.similarity(loaded.embeddings).isfinite().all()


@quick
@given(
    st.dictionaries(
        st.sampled_from(["embeddings", "weights", "crops", "query", "other"]),
        st.sampled_from(
            ["F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F4", "C64", "nonsense"]
        ),
        min_size=1,
    ),
    st.lists(st.integers(0, 3), max_size=4),
)
def test_a_header_of_any_kinds_and_shapes_is_refused_in_words(tmp_path_factory, kinds, shape):
    """Hand-made headers over zeros, with the metadata of an identity."""
    path = tmp_path_factory.mktemp("identity") / "me.safetensors"
    save_identity(identity(), path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, start = {"__metadata__": json.loads(content[8 : 8 + length])["__metadata__"]}, 0
    for name, kind in kinds.items():
        size = {"F64": 8, "I64": 8, "C64": 8, "F32": 4, "F16": 2, "BF16": 2}.get(kind, 1) * math.prod(shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(start))
    try:
        load_identity(path, EYE)
    except IdentityFileError as error:
        assert "me.safetensors" in str(error)
    else:
        raise AssertionError("zeros are no identity")
