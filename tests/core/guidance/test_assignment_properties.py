"""The assignment of regions to identities, for any small table of likeness."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rectifid_core.guidance.assignment import assign
from tests.helpers.properties import examples

# a similarity with its margin, a doubtful region's, or never
WORTH = st.floats(-1.0, 1.1) | st.floats(-101.0, -99.0) | st.just(-math.inf)


@st.composite
def tables(draw):
    """(identities, regions): what each region is worth to each identity."""
    identities, regions = draw(st.integers(1, 4)), draw(st.integers(0, 4))
    rows = [[draw(WORTH) for _ in range(regions)] for _ in range(identities)]
    return torch.tensor(rows, dtype=torch.float64).view(identities, regions)


def best(rows: list[list[float]], taken: frozenset[int] = frozenset()) -> tuple[int, float]:
    """The most pairs that there can be, and of these the greatest sum, by trying all."""
    if not rows:
        return 0, 0.0
    ways = [best(rows[1:], taken)]
    for region, worth in enumerate(rows[0]):
        if region not in taken and worth > -math.inf:
            pairs, total = best(rows[1:], taken | {region})
            ways.append((pairs + 1, total + worth))
    return max(ways)


@examples(100)
@given(tables())
def test_it_is_the_best_of_all_ways(worth):
    assigned = assign(worth)
    pairs = [(identity, region) for identity, region in enumerate(assigned) if region is not None]
    assert len(assigned) == len(worth)
    assert len({region for _, region in pairs}) == len(pairs), "no two identities have one region"
    values = [worth[pair].item() for pair in pairs]
    assert -math.inf not in values
    most, greatest = best(worth.tolist())
    assert len(pairs) == most and sum(values) == pytest.approx(greatest, abs=1e-9)


@examples(50)
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_identities_and_regions_changes_nothing(worth, random):
    identities, regions = list(range(worth.shape[0])), list(range(worth.shape[1]))
    random.shuffle(identities)
    random.shuffle(regions)

    def total(table):
        return sum(
            table[identity, region].item() for identity, region in enumerate(assign(table)) if region is not None
        )

    assert total(worth[identities][:, regions]) == pytest.approx(total(worth), abs=1e-9)
