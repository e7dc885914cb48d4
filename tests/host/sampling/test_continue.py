"""*continue_from*: a sampler goes on where another one ended, as if that one had never stopped."""

from __future__ import annotations

import math

import pytest
import torch


def same(mine, other):
    assert len(mine) == len(other)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(torch.tensor(a), torch.tensor(b), atol=0, rtol=0, equal_nan=True)


def test_two_samplers_in_a_row_give_what_one_gives(sample):
    whole, picture, whole_report = sample(iterations=6).result
    first_report = sample(iterations=2).result[2]
    latent, again, report = sample(iterations=4, continue_from=first_report).result
    assert torch.equal(latent["samples"], whole["samples"]) and torch.equal(again, picture)
    assert report.number == whole_report.number == list(range(7))
    for measure in ("similarity", "energy", "residual"):
        same(getattr(report, measure), getattr(whole_report, measure))
    assert report.settings["iterations"] == 6 and "6 iterations" in report.text()
    assert first_report.number == [0, 1, 2] and len(report.pictures) == 7


def test_the_best_of_the_first_run_is_not_lost(sample):
    far = {"update_rule": "unanchored", "iterations": 4, "guidance_scale": 100.0}
    latent, _, first = sample(**far).result
    similarity = [row[0] for row in first.similarity]
    assert max(similarity) > similarity[-1], "the first run ends at its best, which says nothing"
    again, _, report = sample(**far | {"iterations": 0}, continue_from=first).result
    assert torch.equal(again["samples"], latent["samples"]) and report.similarity == first.similarity


def test_a_run_that_was_stopped_goes_on(sample):
    stopped = sample(iterations=9, stop_at_similarity=0.0).result[2]
    assert stopped.number == [0]
    report = sample(iterations=3, continue_from=stopped).result[2]
    whole = sample(iterations=4).result[2]
    assert report.number == whole.number == [0, 1, 2, 3, 4]
    same(report.similarity, whole.similarity)
    assert not math.isnan(report.residual[0][0])


def test_other_steps_are_refused_in_words(sample):
    report = sample(iterations=1).result[2]
    with pytest.raises(ValueError, match="number of steps was"):
        sample(iterations=1, steps=2, continue_from=report)


def test_a_single_pass_says_that_it_cannot_go_on(sample, run):
    (single,) = run("AnchoredSamplerSettings", preset="fast (single pass)").result
    report = sample(settings=single).result[2]
    with pytest.raises(ValueError, match="continue_from"):
        sample(continue_from=report)
    with pytest.raises(ValueError, match="single_pass"):
        sample(settings=single, continue_from=sample(iterations=1).result[2])
