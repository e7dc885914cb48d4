"""A run that goes on where another one ended is the run that never ended."""

from __future__ import annotations

import itertools

import pytest
import torch

from rectifid_core.solver.best import Best
from rectifid_core.solver.rules import RULES
from rectifid_core.solver.solve import solve
from rectifid_core.solver.state import RunState
from tests.helpers.worlds import CurvedEnergy, CurvedFlow, normal

Z0 = normal(2, 3, 4, 4, seed=7)
GO_ON = [name for name in RULES if name != "single_pass"]
MEASURES = ("latent", "image", "energy", "similarity", "residual", "slope", "contraction", "diverging")


def run(state=None, rule="anchored", iterations=25, z0=Z0, scale=0.3, flow=None):
    return solve(
        flow or CurvedFlow(),
        torch.sigmoid,
        CurvedEnergy(),
        z0,
        rule=rule,
        scale=scale,
        iterations=iterations,
        state=state,
    )


def same(mine, other):
    assert mine.number == other.number
    for name in MEASURES:
        torch.testing.assert_close(getattr(mine, name), getattr(other, name), atol=0, rtol=0, equal_nan=True)


@pytest.mark.parametrize("rule", GO_ON)
def test_after_its_last_iterate_it_goes_on_to_the_bit(rule):
    whole, state = list(run(rule=rule)), RunState()
    list(run(state, rule, iterations=13))
    rest = list(run(state.to("cpu"), rule, iterations=12))
    assert [each.number for each in rest] == list(range(13, 26))
    for mine, other in zip(rest, whole[13:], strict=True):
        same(mine, other)


@pytest.mark.parametrize("rule", GO_ON)
def test_after_it_was_stopped_it_goes_on_to_the_bit(rule):
    whole, state = list(run(rule=rule)), RunState()
    list(itertools.islice(run(state, rule), 8))
    for mine, other in zip(run(state.to("cpu"), rule, iterations=17), whole[8:], strict=True):
        same(mine, other)


def test_a_copy_goes_on_and_leaves_the_state_as_it_is():
    state = RunState()
    list(run(state, iterations=5))
    first, second = (list(run(state.to("cpu"), iterations=5)) for _ in range(2))
    assert state.number == 5
    for mine, other in zip(first, second, strict=True):
        same(mine, other)


def test_it_goes_on_with_another_scale():
    state = RunState()
    list(run(state, iterations=40))
    less = list(run(state.to("cpu"), iterations=40, scale=0.1))
    torch.testing.assert_close(less[-1].latent, list(run(iterations=80, scale=0.1))[-1].latent, atol=1e-2, rtol=0)
    assert (less[-1].latent - less[0].latent).abs().max() > 0.05


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rule": "noise"}, "the update rule was anchored and is noise now"),
        ({"z0": Z0[:1]}, "the shape of the latent was 2 x 3 x 4 x 4 and is 1 x 3 x 4 x 4 now"),
        ({"flow": CurvedFlow(windows=3)}, "the number of steps was 4 and is 3 now"),
        ({"rule": "single_pass"}, "cannot go on"),
    ],
)
def test_it_says_in_words_what_does_not_fit(change, said):
    state = RunState()
    list(run(state, iterations=2))
    with pytest.raises(ValueError, match=said):
        next(run(state, **change))


def test_the_best_moves_as_a_copy():
    best = Best()
    iterates = list(run(iterations=3))
    best.update(iterates[0])
    moved = best.to("cpu")
    for each in iterates[1:]:
        moved.update(each)
    assert best.number.tolist() == [0, 0] and torch.equal(best.image, iterates[0].image)
    assert torch.equal(moved.similarity, torch.stack([each.similarity for each in iterates]).amax(dim=0))
