"""The report says what the results say."""

from __future__ import annotations

import base64
import io
import re

import pyarrow.parquet as pq
import pytest
from PIL import Image

from rectifid_eval.protocol import Protocol, faces_in
from rectifid_eval.report import Results, write
from rectifid_eval.results import DRAWN, SCORED, Store
from rectifid_eval.scorers import NO_FACE

SCORES = {"first": (0.9, 0.7), "second": (0.5, 0.1)}  # of the two people


@pytest.fixture
def protocol(tmp_path):
    (tmp_path / "faces").mkdir()
    for number in range(2):
        Image.new("RGB", (32, 48), (200 * number, 0, 90)).save(tmp_path / "faces" / f"{number}.png")
    faces = faces_in(tmp_path / "faces", 2)
    return Protocol({"first": "1", "second": "2"}, faces, ("a <b>", "c"), 1, ("second",))


@pytest.fixture
def folder(tmp_path, protocol):
    """All drawn but two: one failed, one is missing."""
    drawn, identity = Store(tmp_path / "drawn", DRAWN), Store(tmp_path / "scores" / "identity", SCORED)
    (tmp_path / "pictures").mkdir()
    rows = protocol.rows()
    for number, row in enumerate(rows[:-1]):
        failed = number == 5
        picture = None if failed else f"pictures/{row.key}.png"
        if picture:
            Image.new("RGB", (64, 64), (0, 20 * number, 0)).save(tmp_path / picture)
            value = SCORES[row.method][protocol.faces.index(row.face)]
            note = NO_FACE if number == 0 else None
            identity.add({"key": row.key, "scorer": "judge 1", "value": value, "note": note, "finished": 1.0})
        drawn.add(
            {
                "key": row.key,
                "method": row.method,
                "face": row.face.name,
                "prompt": row.prompt,
                "picture": picture,
                "seconds": None if failed else 2.0 + number,
                "cold": number == 0,
                "peak_memory": None if failed else 10**9 * (number + 1),
                "tries": 3 if failed else 1,
                "error": "no <face> here" if failed else None,
                "finished": 1.0,
            }
        )
    return tmp_path


def test_people_count_once_and_what_failed_does_not(folder, protocol):
    first, second = map(Results(folder, protocol).summary, ("first", "second"))
    assert first.means["identity"].value == pytest.approx(0.8) and first.means["identity"].persons == 2
    assert second.means["identity"].value == pytest.approx(0.3)  # 0.5 of one picture and 0.1 of one
    assert (first.drawn, first.failed, first.missing, first.without) == (4, 0, 0, 1)
    assert (second.drawn, second.failed, second.missing, second.without) == (2, 1, 1, 0)
    assert second.differences["identity"].value == pytest.approx(-0.5) and not first.differences


def test_time_is_without_loading_and_memory_the_most(folder, protocol):
    first = Results(folder, protocol).summary("first")
    assert first.seconds == 4 and first.memory == 4  # the median of 3, 4, 5


def test_the_page_has_all_in_it(folder, protocol):
    page = write(folder, protocol).read_text()
    assert "0.800 [0.700, 0.900]" in page and "second <span" in page
    assert "a &lt;b&gt;" in page and "<b>" not in page
    assert "no &lt;face&gt; here" in page and "not drawn yet" in page
    assert "judge 1" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page), "it loads nothing from elsewhere"
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(pictures) == 2 + 3
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size == (32, 48)


def test_identity_against_prompt_is_drawn_where_both_are_there(folder, protocol):
    assert "image/png" not in write(folder, protocol).read_text()
    prompt = Store(folder / "scores" / "prompt", SCORED)
    for row in protocol.rows()[:5]:
        prompt.add({"key": row.key, "scorer": "clip", "value": 0.25, "note": None, "finished": 1.0})
    assert "image/png" in write(folder, protocol).read_text()


def test_one_table_has_settings_and_scores(folder, protocol):
    write(folder, protocol)
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    assert len(rows) == 7 and {"picture", "settings", "seconds", "peak_memory", "error", "score_identity"} <= set(
        rows[0]
    )
    assert [row["score_identity"] for row in rows if row["error"]] == [None]


def test_rows_of_another_protocol_do_not_count(folder, protocol):
    fewer = Protocol({"first": "1"}, protocol.faces[:1], protocol.prompts, 1)
    results = Results(folder, fewer)
    assert results.summary("first").drawn == 2 and results.table().num_rows == 2


def test_a_report_without_scores_and_pictures_can_be_made(folder, protocol):
    for path in [*(folder / "scores").rglob("*.parquet"), *(folder / "pictures").iterdir()]:
        path.unlink()
    for path in sorted((folder / "scores").rglob("*"), reverse=True):
        path.rmdir()
    page = write(folder, protocol).read_text()
    assert "gone" in page and "Needs both scores" in page
