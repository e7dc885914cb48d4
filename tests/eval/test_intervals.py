"""Means over people, and how sure they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rectifid_eval.intervals import by_person, difference, mean_of


def test_each_person_counts_once():
    persons = by_person([("a", 1.0), ("a", 0.0), ("a", 0.5), ("b", 0.9)])
    assert persons == pytest.approx({"a": 0.5, "b": 0.9})
    assert mean_of(persons).value == pytest.approx(0.7)


def test_the_interval_is_that_of_the_mean():
    """Of many values of a normal distribution it is 1.96 standard errors to both sides."""
    values = np.random.default_rng(0).normal(0.5, 0.2, 400)
    mean = mean_of({str(number): value for number, value in enumerate(values)})
    half = 1.96 * values.std(ddof=1) / 20
    assert mean.high - mean.value == pytest.approx(half, rel=0.1)
    assert mean.value - mean.low == pytest.approx(half, rel=0.1)
    assert mean.persons == 400


def test_it_is_right_as_often_as_it_says():
    """Of 200 samples of 40 people, the interval holds the truth about 95 times in 100."""
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        mean = mean_of(dict(enumerate(random.normal(0.3, 0.1, 40).tolist())))
        hits += mean.low <= 0.3 <= mean.high
    assert 0.88 <= hits / 200 <= 0.99


def test_it_is_the_same_for_the_same_values_in_any_order():
    assert mean_of({"a": 0.1, "b": 0.4, "c": 0.9}) == mean_of({"c": 0.9, "a": 0.1, "b": 0.4})


def test_too_few_people_have_no_interval():
    one, none = mean_of({"a": 0.5}), mean_of({})
    assert one.value == 0.5 and math.isnan(one.low) and one.persons == 1
    assert math.isnan(none.value) and none.persons == 0


def test_people_who_are_all_the_same_have_a_narrow_one():
    mean = mean_of({"a": 0.5, "b": 0.5})
    assert mean.low == mean.high == 0.5


def test_a_difference_is_person_by_person_over_those_who_have_both():
    """People differ much more than the methods do, which the paired difference does not see."""
    second = {str(number): number / 10 for number in range(10)}
    first = {person: value + 0.01 for person, value in second.items()} | {"other": 5.0}
    apart = difference(first, second)
    assert apart.persons == 10 and apart.value == pytest.approx(0.01)
    assert apart.low > 0.009 and mean_of(second).high - mean_of(second).low > 0.2
