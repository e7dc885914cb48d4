"""A single pass keeps to the scope of its energies, and tells them how many updates there have been."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.guidance.weighted_sum import NamedEnergy, Schedule, WeightedSum
from rectifid_core.scope import GuidanceScope
from rectifid_core.solver.solve import solve
from tests.helpers.worlds import CurvedEnergy, CurvedFlow, normal

Z0 = normal(2, 3, 4, 4, seed=7)


class Offsets(CurvedFlow):
    """Notes the offset between two windows, as the next one meets it."""

    def __init__(self):
        super().__init__()
        self.offsets = []

    def predict(self, k, z):
        if k > 0:
            self.offsets.append(z - self._end)
        self._end, prediction = super().predict(k, z)
        return self._end, prediction


@pytest.mark.parametrize(
    ("windows", "moved"),
    [((0.0, 0.5), [True, True, False]), ((0.25, 0.75), [False, True, True]), ((0.75, 1.0), [False] * 3)],
)
def test_only_the_windows_of_the_scope_are_corrected(windows, moved):
    energy = WeightedSum([NamedEnergy("a", CurvedEnergy())], {"a": Schedule(scope=GuidanceScope(windows))}, ["a"])
    flow = Offsets()
    iterates = list(solve(flow, torch.sigmoid, energy, Z0, rule="single_pass", iterations=8))
    assert [bool(offset.any()) for offset in flow.offsets] == moved
    assert (iterates[-1].latent != iterates[0].latent).any()


@pytest.mark.parametrize("rule", ["single_pass", "accumulated"])
def test_an_energy_is_told_the_number_of_its_iterate(rule):
    """A single pass observes its first prediction too, which it does not yield: number 0 comes twice."""
    numbers = []

    def energy(image, number):
        numbers.append(number)
        return CurvedEnergy()(image, number)

    list(solve(CurvedFlow(), torch.sigmoid, energy, Z0, rule=rule, iterations=5))
    assert numbers == [0] * (rule == "single_pass") + [0, 1, 2, 3, 4, 5]
