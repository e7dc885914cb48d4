"""Settings of property-based tests: the same few examples in every run, without a time limit for each."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)
