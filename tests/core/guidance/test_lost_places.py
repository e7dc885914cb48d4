"""When a place is still that of someone who is missing, and what counts as found."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.guidance.assignment import SAME, GroupTracker
from rectifid_core.guidance.combination import combine
from rectifid_core.guidance.tracking import Tracker
from rectifid_core.guidance.weighted_sum import Schedule
from rectifid_core.images.regions import Region, overlap
from tests.helpers.people import GREEN, RED, ByColor, painted, people, references
from tests.helpers.scripted import LEFT, Scripted, pictures

RIGHT = Region((12, 4, 24, 16), 0.8)


def moved(share: float) -> Region:
    """A box as large as RIGHT that overlaps it by that share."""
    left, top, right, bottom = RIGHT.box
    step = (right - left) * (1 - share) / (1 + share)
    return Region((left - step, top, right - step, bottom), 0.9)


@pytest.mark.parametrize(("share", "keeps"), [(0.3, True), (0.45, True), (0.55, False), (0.7, False), (0.85, False)])
def test_a_place_is_taken_by_who_is_found_on_half_of_it(share, keeps):
    assert overlap(moved(share), RIGHT) == pytest.approx(share) and SAME == 0.5
    first = painted((LEFT, RED), (RIGHT, GREEN))
    eye = ByColor([[LEFT, RIGHT]], [[moved(share)]])
    guidances = people(eye, RED, GREEN)
    track = GroupTracker([each.identity for each in guidances], eye)
    track(first[None], 0)
    (_, red_found), (green, green_found) = track(painted((moved(share), RED))[None], 1)
    assert red_found == [True] and green_found == [False]
    assert green == ([RIGHT] if keeps else [None])


def test_found_is_said_of_the_last_look():
    """Between two looks the detector rests, and nothing new is known."""
    track = Tracker(Scripted([[LEFT]], [[]], [[LEFT]]), detect_every=2)
    found = [track(pictures(), i)[1] for i in range(6)]
    assert found == [[True], [True], [False], [False], [True], [True]]


def test_the_similarity_of_a_lost_face_is_that_of_a_place_and_is_not_counted_as_found():
    (alone,) = references(Scripted([[LEFT]], [[]]), 7)
    for guidance in (alone, combine({"one": (alone, Schedule())})):
        alone.discriminator.calls = 0
        energy = guidance.energy(views=0)
        seen, lost = energy(pictures(), 0), energy(pictures(), 1)
        assert seen.found.tolist() == [True] and lost.found.tolist() == [False]
        assert lost.similarity.item() == pytest.approx(seen.similarity.item()) and not lost.similarity.isnan()
        assert not torch.equal(lost.energy, torch.zeros(1)), "it is still drawn there"
