"""Which pictures are drawn."""

from __future__ import annotations

from itertools import pairwise

import pytest
from PIL import Image

from rectifid_eval.errors import EvaluationError
from rectifid_eval.protocol import OUR_PROMPTS, Face, Protocol, faces_in, read_prompts, read_protocol


@pytest.fixture
def faces(tmp_path):
    """Eleven people, as CelebA-HQ names them, and a file that is none."""
    for number in range(11):
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "readme.txt").write_text("not a face")
    return tmp_path


def protocol(**changes) -> Protocol:
    people = (Face("/x/a.png", "aa"), Face("/x/b.png", "bb"))
    return Protocol(
        **{"methods": {"one": "1", "two": "2"}, "faces": people, "prompts": ("p", "q"), "seeds": 3} | changes
    )


def test_the_first_people_are_taken_in_the_order_of_their_numbers(faces):
    assert [face.name for face in faces_in(faces, 4)] == ["0.png", "1.png", "2.png", "3.png"]
    assert [face.name for face in faces_in(faces, 200)][-2:] == ["9.png", "10.png"]


def test_a_picture_that_is_there_twice_is_one_person(faces):
    (faces / "1.png").write_bytes((faces / "0.png").read_bytes())
    assert [face.name for face in faces_in(faces, 3)] == ["0.png", "2.png", "3.png"]


def test_missing_and_empty_folders_are_told(tmp_path):
    with pytest.raises(EvaluationError, match="missing"):
        faces_in(tmp_path / "none", 1)
    with pytest.raises(EvaluationError, match="no pictures"):
        faces_in(tmp_path, 1)


def test_our_prompts_are_twenty():
    assert len(read_prompts(OUR_PROMPTS)) == 20


def test_prompts_are_lines(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("# of what\n\n a \nb\na\n")
    assert read_prompts(path) == ("a", "b")
    path.write_text("# nothing\n")
    with pytest.raises(EvaluationError, match="no prompt"):
        read_prompts(path)
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_prompts(tmp_path / "none.txt")


def test_every_question_is_a_row_of_its_own_and_methods_stay_together():
    rows = protocol().rows()
    assert len(rows) == len({row.key for row in rows}) == 2 * 2 * 2 * 3
    assert sum(first.method != second.method for first, second in pairwise(rows)) == 1


def test_methods_are_asked_the_same_with_the_same_seed():
    rows = protocol().rows()
    seeds = [[row.seed for row in rows if row.method == method] for method in ("one", "two")]
    assert seeds[0] == seeds[1] and len(set(seeds[0])) == 12
    assert all(0 <= seed < 2**63 for seed in seeds[0])


def test_another_workflow_is_another_row_and_more_people_are_not():
    keys = {row.key for row in protocol().rows()}
    assert keys < {row.key for row in protocol(faces=(*protocol().faces, Face("/x/c.png", "cc"))).rows()}
    changed = {row.key for row in protocol(methods={"one": "1", "two": "3"}).rows()}
    assert len(keys & changed) == len(keys) // 2


def test_it_is_kept_for_the_later_stages(tmp_path):
    protocol(baselines=("two",)).save(tmp_path)
    assert read_protocol(tmp_path) == protocol(baselines=("two",))
    with pytest.raises(EvaluationError, match="draw"):
        read_protocol(tmp_path / "none")
