"""The best of several noises, for each sample its own."""

from __future__ import annotations

import pytest
import torch
from worlds import CurvedEnergy, CurvedFlow, normal

from rectifid_core.best_noise import best_noise
from rectifid_core.interfaces import Observation
from rectifid_core.solver import solve

NOISES = [normal(3, 3, 4, 4, seed=seed) for seed in range(5)]


def test_it_is_the_one_of_least_energy_in_each_sample():
    class NoAutograd(CurvedFlow):
        def step(self, k, z):
            assert not torch.is_grad_enabled()
            return super().step(k, z)

    noise, number = best_noise(NoAutograd(), torch.sigmoid, CurvedEnergy, iter(NOISES))
    energies = [next(solve(CurvedFlow(), torch.sigmoid, CurvedEnergy(), each)).energy for each in NOISES]
    assert number.tolist() == torch.stack(energies).argmin(dim=0).tolist()
    assert len(set(number.tolist())) > 1
    for sample, chosen in enumerate(number.tolist()):
        assert torch.equal(noise[sample], NOISES[chosen][sample])


def test_images_in_which_nothing_is_found_come_last():
    class Blind:
        """Finds nothing in the first sample ever, nor at first in the second; not to be found is an energy of 0."""

        made = 0

        def __init__(self):
            self.found = torch.tensor([False, Blind.made > 1, True])
            Blind.made += 1

        def __call__(self, image, iteration):
            energy = CurvedEnergy()(image, iteration).energy + 100
            return Observation(energy * self.found, torch.zeros(3), found=self.found)

    noise, number = best_noise(CurvedFlow(), torch.sigmoid, Blind, NOISES)
    assert number[0] == 0 and number[1] >= 2
    assert torch.equal(noise[0], NOISES[0][0])


def test_no_noise():
    with pytest.raises(ValueError, match="draw at least one"):
        best_noise(CurvedFlow(), torch.sigmoid, CurvedEnergy, [])
