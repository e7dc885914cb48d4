"""Update rules: what an iteration of each costs, and that a new one is a class and a line."""

from __future__ import annotations

import itertools

import pytest
import torch

from rectifid_core.solver.rules import RULES, FullyAnchored, Path
from rectifid_core.solver.solve import solve
from tests.helpers.worlds import CurvedEnergy, CurvedFlow, normal

Z0 = normal(2, 3, 4, 4, seed=7)
# of four windows: forward, once more for the gradient, and what the rule itself asks the flow
EVALUATIONS = {
    "accumulated": 8,
    "fixed_point": 8,
    "noise": 8,
    "anchored": 4,
    "fully_anchored": 4,
    "unanchored": 8,
}


class Counted(CurvedFlow):
    calls = 0

    def step(self, k, z):
        self.calls += 1
        return super().step(k, z)

    def end_displacement(self, k, z):
        self.calls += 1
        return super().end_displacement(k, z)


@pytest.mark.parametrize(("rule", "evaluations"), EVALUATIONS.items())
def test_an_iteration_computes_no_window_end_that_is_known(rule, evaluations):
    flow, before = Counted(), []
    for _ in solve(flow, torch.sigmoid, CurvedEnergy(), Z0, rule=rule, scale=0.3, iterations=6):
        before.append(flow.calls)
    assert {later - earlier for earlier, later in itertools.pairwise(before[1:-1])} == {evaluations}


@pytest.mark.parametrize("rule", ["fully_anchored", "unanchored"])
@pytest.mark.parametrize("gradient", ["windowed", "full", "straight"])
def test_a_trajectory_ends_where_the_rule_put_it(rule, gradient):
    iterates = list(
        solve(
            CurvedFlow(),
            torch.sigmoid,
            CurvedEnergy(),
            Z0,
            rule=rule,
            scale=0.3,
            iterations=3,
            gradient=gradient,
        )
    )
    moved = [(a.latent - b.latent).norm() for a, b in itertools.pairwise(iterates)]
    assert all(0 < each < 10 for each in moved)


def test_a_pinned_flow_has_the_jacobian_of_the_flow():
    flow, ends = CurvedFlow(), list(normal(4, *Z0.shape, seed=3))
    pinned = Path(Z0, [torch.zeros_like(Z0)] * 4).pinned(ends).pinned(ends).along(flow)
    assert pinned.flow is flow, "pinning twice pins the flow itself"
    z = Z0.clone().requires_grad_()
    end = pinned.step(1, z)
    assert torch.equal(end, ends[1])
    (pinned_gradient,) = torch.autograd.grad(end.cos().sum(), z)
    (gradient,) = torch.autograd.grad((flow.step(1, z) - flow.step(1, z).detach() + ends[1]).cos().sum(), z)
    torch.testing.assert_close(pinned_gradient, gradient)
    with torch.no_grad():
        assert pinned.step(1, z) is ends[1]


def test_the_registry_holds_the_rules_by_name_the_default_first():
    assert RULES["fully_anchored"] is FullyAnchored and next(iter(RULES)) == "anchored"
    assert [name for name, rule in RULES.items() if rule.clips] == [
        "accumulated",
        "single_pass",
        "fully_anchored",
        "noise",
    ]
