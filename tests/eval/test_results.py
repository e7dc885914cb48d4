"""Rows as Parquet, which a kill at any time leaves whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from rectifid_eval import results
from rectifid_eval.errors import EvaluationError
from rectifid_eval.results import SCORED, Store, only_writer, whole
from tests.helpers.places import ROOT

WRITE_FOR_EVER = """
import sys, time
from pathlib import Path
from rectifid_eval import results
results.MERGED = 7  # so that it is often merging
store = results.Store(Path(sys.argv[1]), results.SCORED)
number = len(store.rows())
while True:
    store.add({"key": str(number), "scorer": "s", "value": float(number), "note": None, "finished": time.time()})
    print(number, flush=True)
    number += 1
"""
HOLD = """
import sys, time
from pathlib import Path
from rectifid_eval.results import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def row(key: str, value: float = 0.0, finished: float = 0.0) -> dict:
    return {"key": key, "scorer": "s", "value": value, "note": None, "finished": finished}


def test_rows_come_back_merged_or_not(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "MERGED", 4)
    store = Store(tmp_path, SCORED)
    for number in range(10):
        store.add(row(str(number), number))
    assert len(list(tmp_path.glob("row-*"))) == 2 and len(list(tmp_path.glob("rows-*"))) == 2
    store.merge()
    assert not list(tmp_path.glob("row-*"))
    assert {key: each["value"] for key, each in Store(tmp_path, SCORED).rows().items()} == {
        str(number): number for number in range(10)
    }


def test_the_later_of_two_counts(tmp_path):
    store = Store(tmp_path, SCORED)
    store.add(row("a", 2.0, finished=20.0))
    store.add(row("a", 1.0, finished=10.0))
    assert store.rows()["a"]["value"] == 2.0


def test_killed_at_any_time_it_has_every_row_that_was_done_once(tmp_path):
    for _ in range(4):
        command = [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        said = [process.stdout.readline() for _ in range(20)]
        time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        said += process.stdout.readlines()
        process.wait()
        told = int(said[-1])
        rows = Store(tmp_path, SCORED).rows()
        assert set(map(str, range(told + 1))) <= set(rows) and len(rows) <= told + 2  # one more was done, and not told


def test_what_is_half_written_does_not_count(tmp_path):
    store = Store(tmp_path, SCORED)
    store.add(row("a"))

    def breaks(part):
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole(tmp_path / "row-x.parquet", breaks)
    assert set(store.rows()) == {"a"}


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "row-x.parquet").write_bytes(b"junk")
    with pytest.raises(EvaluationError, match=r"row-x\.parquet"):
        Store(tmp_path, SCORED).rows()


def test_others_can_read_it(tmp_path):
    store = Store(tmp_path, SCORED)
    store.add(row("a", 0.25))
    assert pq.read_table(tmp_path).to_pylist() == [row("a", 0.25)]


def test_two_do_not_write_into_one_folder(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(EvaluationError, match="another evaluation"), only_writer(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
    with only_writer(tmp_path):  # a killed one holds nobody up
        pass
