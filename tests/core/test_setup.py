"""The bar of the set-up: pip's own words in, lines for a terminal out."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.packages import BAR, RAW_PROGRESS, bars, version

SAID = """\
Collecting torch==2.14.1
  Downloading https://host/some/torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (531 MB)
Progress 0 of 531000000
Progress 1000 of 531000000
Progress 265500000 of 531000000
Progress 531000000 of 531000000
  Downloading https://host/empty.whl
Progress 0 of 0
Installing collected packages: torch
"""


def test_each_change_that_can_be_seen_is_a_line():
    lines = list(bars(SAID.splitlines()))
    assert [line.count("=") for line in lines] == [0, BAR // 2, BAR]
    assert all("531 MB" in line and "torch-2.14.1" in line for line in lines)
    assert len({len(line) for line in lines}) == 1, "a shorter line leaves the rest of a longer one behind"


def test_it_reads_the_version_of_pip():
    assert version(Path(sys.executable)) > (9, 0) and RAW_PROGRESS > (24, 0)
