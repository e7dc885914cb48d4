"""What a run leaves behind: nothing that grows with their number."""

from __future__ import annotations

import gc
from collections import Counter

RUNS = 8


def test_no_kind_of_object_grows_with_the_runs(job):
    def objects():
        gc.collect()
        return Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())

    for _ in range(4):  # caches of torch and of the host
        job.guide()
    objects()  # which makes some itself, once
    before = objects()
    for _ in range(RUNS):
        job.guide()
    grown = {kind: more for kind, more in (objects() - before).items() if more >= RUNS}
    assert not grown
