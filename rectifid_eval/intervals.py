"""Means with intervals; persons are the unit, since the pictures of one person are not independent."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

RESAMPLES = 9999
LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """The mean over persons and its 95 % interval; nan where there are too few for one."""

    value: float
    low: float
    high: float
    persons: int


def by_person(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Each person's mean of (person, value)."""
    groups: dict[str, list[float]] = defaultdict(list)
    for person, value in values:
        groups[person].append(value)
    return {person: float(np.mean(group)) for person, group in groups.items()}


def mean_of(persons: Mapping[str, float]) -> Mean:
    """The mean over persons with its percentile bootstrap interval; the same numbers for the same values."""
    values = np.array([persons[person] for person in sorted(persons)])
    if not len(values):
        return Mean(math.nan, math.nan, math.nan, 0)
    mean = float(values.mean())
    if len(values) < 2:
        return Mean(mean, math.nan, math.nan, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of persons who are all the same
        found = bootstrap(
            (values,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method="percentile", rng=0
        ).confidence_interval
    return Mean(mean, float(found.low), float(found.high), len(values))


def difference(first: Mapping[str, float], second: Mapping[str, float]) -> Mean:
    """How much higher ``first`` is, person by person, over those who have both."""
    return mean_of({person: first[person] - second[person] for person in first.keys() & second.keys()})
