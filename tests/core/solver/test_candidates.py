"""Where to start: predictions rank the noises, and what stands in where they show nothing."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.interfaces import Observation
from rectifid_core.solver.candidates import draw, foresee, nearest, shuffled
from tests.helpers.worlds import MinimalFlow, normal

Z0 = normal(3, 3, 4, 4, seed=7)


class Foreseeing(MinimalFlow):
    """Two windows that add 1 each, and foresee 2."""

    def __init__(self):
        super().__init__(lambda k, z: z + 1, windows=2)
        self.calls = 0

    def predict(self, k, z):
        self.calls += 1
        return z + 1, z + 2


class Seen:
    """The energy is the mean of the picture; ``found``: in which it is found."""

    def __init__(self, found=None):
        self.found = found

    def __call__(self, image, iteration):
        energy = image.flatten(1).mean(dim=1)
        return Observation(energy, -energy, self.found)


def looking(flow, noises, energy=Seen, decode=lambda z: z):
    return lambda number, to_end: (draw if to_end else foresee)(flow, decode, energy(), noises[number])


def test_a_flow_that_foresees_its_end_is_asked_once():
    flow = Foreseeing()
    seen = foresee(flow, lambda z: z, Seen(), Z0)
    assert seen.predicted and flow.calls == 1
    torch.testing.assert_close(seen.latent, Z0 + 2)
    torch.testing.assert_close(seen.latent, draw(flow, lambda z: z, Seen(), Z0).latent)


def test_a_flow_that_foresees_nothing_is_drawn():
    flow = MinimalFlow(lambda k, z: z + k, windows=3)
    seen = foresee(flow, lambda z: z, Seen(), Z0)
    assert not seen.predicted and torch.equal(seen.latent, Z0 + 0 + 1 + 2)


def test_each_sample_gets_the_nearest_of_its_own():
    noises = torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 2.0], [2.0, 3.0, 2.0]]).view(3, 3, 1, 1, 1)
    assert nearest(looking(Foreseeing(), noises), 3).tolist() == [1, 0, 0]


@pytest.mark.parametrize("found", [[True, False, True], [False, False, False]])
def test_where_a_prediction_shows_nothing_the_pictures_are_drawn(found):
    drawn, noises = [], torch.tensor([2.0, 1.0]).view(2, 1, 1, 1, 1).expand(2, 3, 1, 1, 1)

    def look(number, to_end):
        drawn.append((number, to_end))
        return looking(Foreseeing(), noises, lambda: Seen(torch.tensor([to_end] * 3) | torch.tensor(found)))(
            number, to_end
        )

    assert nearest(look, 2).tolist() == [1, 1, 1]
    assert drawn == [(0, False), (1, False), (0, True), (1, True)]


def test_where_nothing_is_found_at_all_the_first_stays():
    noises = torch.tensor([2.0, 1.0]).view(2, 1, 1, 1, 1)
    assert nearest(looking(Foreseeing(), noises, lambda: Seen(torch.tensor([False]))), 2).tolist() == [0]


def test_another_noise_has_the_same_numbers_elsewhere_whatever_the_batch():
    assert shuffled(Z0, 5, 0) is Z0
    first, second, other = shuffled(Z0, 5, 1), shuffled(Z0, 5, 2), shuffled(Z0, 6, 1)
    assert torch.equal(first[1], shuffled(Z0[1:2], 5, 1)[0])
    for each in (first, second, other):
        assert torch.equal(each.flatten(1).sort(dim=1).values, Z0.flatten(1).sort(dim=1).values)
        assert (each != Z0).float().mean() > 0.5
    assert not torch.equal(first, second) and not torch.equal(first, other)
