"""The documents have what the results say."""

from __future__ import annotations

import re

import pytest

from benchmarks.tables import cells
from benchmarks.tables.documents import DOCUMENTS, MARKED, TABLES, filled, made
from tests.helpers.places import ROOT

TEXTS = {document: (ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_documents_tables_are_the_results(document):
    """Where not, `python -m benchmarks.tables` writes them."""
    assert filled(TEXTS[document]) == TEXTS[document]


def test_every_table_stands_somewhere():
    assert {mark["name"] for text in TEXTS.values() for mark in MARKED.finditer(text)} == set(TABLES)


def test_no_mark_is_without_its_end():
    for text in TEXTS.values():
        assert len(re.findall("<!-- table:", text)) == len(MARKED.findall(text)) == text.count("<!-- end of the table")


@pytest.mark.parametrize("name", TABLES)
def test_its_rows_have_as_many_cells_as_its_head(name):
    lines = [line for line in made(name).splitlines() if line.startswith("|")]
    assert len(lines) > 2 and {line.count("|") for line in lines} == {lines[0].count("|")}


def test_a_table():
    assert cells.table(("", "b"), [(1, ""), (2.5, "x")]) == "| | b |\n| --- | --- |\n| 1 | |\n| 2.5 | x |"


def test_numbers():
    row = {"judge": 0.97649, "judge_sem": 0.0031}
    assert (cells.spread(row, "judge"), cells.spread_percent(row, "judge")) == ("0.976 ± 0.003", "98 ± 0 %")
    assert cells.gain(0.9, 0.1, 0.9) == 1 and cells.gain(0.5, 0.1, 0.9) == pytest.approx(0.5)
    assert cells.ranged({"median": 1, "least": 0.5, "most": 2}) == "1.00 (0.50 to 2.00)"
