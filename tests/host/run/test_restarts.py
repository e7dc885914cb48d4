"""Samples whose likeness does not rise: the run says so, and begins again from another noise if it may."""

from __future__ import annotations

import pytest
import torch


class Likeness:
    """Energy of a batch with these similarities: for each look at the pictures a row, the last one from then on."""

    def __init__(self, pack, rows):
        self._observation = pack("rectifid_core.interfaces").Observation
        self._rows = rows
        self.looks = 0

    def __call__(self, image, iteration):
        row = self._rows[min(self.looks, len(self._rows) - 1)]
        self.looks += 1
        return self._observation(image.square().flatten(1).sum(dim=1), torch.tensor(row))


FLAT, RISING = [[0.1, 0.1]] * 11, [[0.08 * n, 0.09 * n] for n in range(12)]
HALF = [[0.1, each[1]] for each in RISING[:11]]


@pytest.fixture
def two(job):
    job.latent = {"samples": torch.zeros(2, 16, 8, 8)}
    return job


def test_it_says_so_and_goes_on(two, pack):
    two.guide(energy=Likeness(pack, FLAT), iterations=11)
    assert two.stuck == [([0, 1], False)] and two.iterates[-1].number == 11


def test_only_what_is_stuck_begins_again_from_another_noise(two, pack):
    energy = Likeness(pack, HALF + RISING)
    seen = []
    two.guide(energy=energy, iterations=11, restarts=1, on_iterate=lambda iterate, kept: seen.append(iterate))
    assert two.stuck == [([0], True)]
    assert [each.number for each in seen] == [*range(10), *range(12)], "the one at which it is seen is not shown"
    first, second = seen[0].latent, seen[10].latent
    assert torch.equal(first[1], second[1]) and not torch.allclose(first[0], second[0], atol=0.1)


def test_it_begins_again_as_often_as_it_may(two, pack):
    two.guide(energy=Likeness(pack, FLAT), iterations=11, restarts=2)
    assert two.stuck == [([0, 1], True), ([0, 1], True), ([0, 1], False)]
    assert two.iterates[-1].number == 11


def test_a_short_run_and_one_that_rises_are_left_alone(two, pack):
    two.guide(energy=Likeness(pack, FLAT), iterations=9, restarts=2)
    two.guide(energy=Likeness(pack, RISING), iterations=11, restarts=2)
    assert two.stuck == []


def test_a_guidance_that_begins_later_is_waited_for(two, pack):
    sampler = two.sampler(energy=Likeness(pack, FLAT), iterations=13, restarts=1)
    sampler._guidance.changes = [12]
    core = pack("nodes.host.run.sampler")
    core.sample(
        two.model,
        two.positive,
        two.negative,
        two.latent,
        sampler,
        seed=5,
        steps=3,
        cfg=1.0,
        scheduler="simple",
        denoise=1.0,
    )
    assert two.stuck == []


def test_with_an_image_to_start_from_the_image_stays(two, pack):
    """Another noise, and not the picture's own numbers in another order."""
    two.latent = {"samples": torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(1))}
    seen = []
    two.guide(
        energy=Likeness(pack, FLAT),
        iterations=11,
        restarts=1,
        denoise=0.3,
        on_iterate=lambda iterate, kept: seen.append(iterate.latent),
    )
    (first, again) = seen[0], seen[10]
    apart = (first - again).norm() / first.norm()
    assert 0.05 < apart < 1.2, "a picture in another order is 1.4 apart"


def test_the_node_counts_it_in_its_report(sample):
    report = sample(iterations=11, guidance_scale=0.0, restarts=2).result[2]
    assert report.stuck == [] and "stuck" not in report.text(), "it is alike from the start"
