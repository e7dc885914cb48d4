"""What is asked of the straight gradient, on the embedded model."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.benchmarks import benchmark
from tests.helpers.places import needs_weights

pytestmark = [needs_weights, pytest.mark.usefixtures("outside_inference_mode")]


@pytest.fixture(scope="module")
def straight():
    return benchmark("straight")


@pytest.fixture(scope="module")
def race(world):
    with torch.inference_mode(False):
        return benchmark("rules").Race(world, benchmark("world").Triples.draw(2, "tuning"))


def flow(straight, race, windows, cfg):
    return straight.GuidedFlow(race.world, race.triples.prompts, windows, cfg)


@torch.no_grad()
def test_guidance_goes_on_along_the_line_from_the_empty_prompt_to_the_prompt(straight, race):
    z, sigma = race.triples.noise, torch.tensor(0.7)
    named, twice, four = (flow(straight, race, 4, cfg).velocity(z, sigma) for cfg in (1.0, 2.0, 4.0))
    torch.testing.assert_close(four - named, 3 * (twice - named), atol=1e-4, rtol=0)
    assert (twice - named).abs().max() > 1e-3


@torch.no_grad()
def test_with_one_window_it_is_the_derivative_and_with_more_it_is_not(straight, race):
    race.flow = flow(straight, race, 1, 1.0)
    assert straight.cosines(race)["straight, derivative"] == pytest.approx(1)
    race.flow = flow(straight, race, 4, 1.0)
    of_four = straight.cosines(race)
    assert 0.15 < of_four["straight, derivative"] < of_four["published, derivative"]
