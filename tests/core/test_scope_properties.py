"""Scopes, whatever their bounds and masks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rectifid_core.scope import EVERYWHERE, GuidanceScope

quick = settings(max_examples=150, deadline=None)
fractions = st.floats(0, 1)


@st.composite
def scopes(draw) -> GuidanceScope:
    start, end = sorted((draw(fractions), draw(fractions)))
    assume(start < end)
    masks = []
    for _ in range(draw(st.integers(0, 2))):
        numbers = draw(st.lists(fractions, min_size=16, max_size=16).filter(any))
        masks.append(torch.tensor(numbers).view(4, 4))
        assume((masks[-1] > 0).any())
    return GuidanceScope((start, end), tuple(masks))


def windows(scope: GuidanceScope, count: int) -> set[int]:
    try:
        return set(scope.windows_of(count))
    except ValueError as error:
        assert "let it act for longer" in str(error)
        return set()


@quick
@given(scopes(), st.integers(1, 40))
def test_its_windows_are_a_run_of_those_whose_middle_lies_within(scope, count):
    inside = windows(scope, count)
    assert inside == {k for k in range(count) if scope.windows[0] <= (k + 0.5) / count < scope.windows[1]}
    assert not inside or inside == set(range(min(inside), max(inside) + 1))
    assert windows(EVERYWHERE, count) == set(range(count))


@quick
@given(fractions, st.integers(1, 40))
def test_two_that_meet_share_out_the_windows(border, count):
    assume(0 < border < 1)
    before, after = GuidanceScope((0.0, border)), GuidanceScope((border, 1.0))
    assert windows(before, count) | windows(after, count) == set(range(count))
    assert not windows(before, count) & windows(after, count)


@quick
@given(scopes(), scopes(), st.integers(1, 20))
def test_what_is_in_both_is_in_each(a, b, count):
    try:
        both = a & b
    except ValueError as error:
        assert "which is never" in str(error) and not windows(a, count) & windows(b, count)
        return
    assert windows(both, count) == windows(a, count) & windows(b, count)
    assert windows(both, count) == windows(b & a, count) and both.masks == a.masks + b.masks
    assert a & EVERYWHERE == a == EVERYWHERE & a and hash(a & EVERYWHERE) == hash(a)


@quick
@given(scopes(), st.sampled_from([(2, 2), (4, 4), (3, 3), (8, 8)]))
def test_a_mask_counts_between_nothing_and_all(scope, size):
    latent = torch.zeros(1, 16, *size, dtype=torch.float64)
    try:
        counts = scope.mask_on(latent, (32, 32))
    except ValueError as error:
        assert "no place in common" in str(error)
        return
    if not scope.masks:
        assert counts is None
    else:
        assert counts.shape == size and (counts >= 0).all() and (counts <= 1 + 1e-12).all()
        alone = GuidanceScope(scope.windows, scope.masks[:1]).mask_on(latent, (32, 32))
        assert (counts <= alone + 1e-12).all(), "another mask only takes away"


@quick
@given(st.floats(allow_nan=True), st.floats(allow_nan=True))
def test_bounds_that_are_none_are_refused(start, end):
    assume(not 0 <= start < end <= 1)
    with pytest.raises(ValueError, match="which is never"):
        GuidanceScope((start, end))
