"""Wrong input ends in a message that says what to do, before anything is started."""

from __future__ import annotations

import sys

import pytest

from demo.portrait import draw_portrait
from rectifid_eval import __main__ as program
from tests.helpers.places import ROOT

GUIDED = f"guided={ROOT / 'rectifid_eval' / 'examples' / 'guided.json'}"


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """Runs a command and returns its message."""
    (tmp_path / "faces").mkdir()
    draw_portrait(5_000_003).save(tmp_path / "faces" / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMFYUI_PATH", raising=False)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["rectifid_eval", *words])
        assert program.main() == 1
        said = capsys.readouterr().err
        assert said.startswith("The evaluation stopped: ") and "Traceback" not in said
        return said

    return run


def draw(*words: str, faces: str = "faces", methods: str = GUIDED) -> list[str]:
    return ["draw", "out", "--faces", faces, "--methods", methods, *words]


def test_a_missing_folder_of_faces(told):
    assert "nobody is missing" in told(*draw("--start", "1", faces="nobody"))


def test_no_server_at_all(told):
    assert "--servers" in told(*draw())


def test_a_comfyui_that_is_none(told, tmp_path):
    assert "main.py" in told(*draw("--start", "1"))
    assert str(tmp_path) in told(*draw("--start", "1", "--comfyui", str(tmp_path)))


def test_a_method_without_a_name_or_file(told):
    assert "NAME=WORKFLOW.json" in told(*draw("--start", "1", methods="guided.json"))
    assert "cannot be read" in told(*draw("--start", "1", methods="guided=none.json"))


def test_two_methods_of_one_name(told):
    assert "name of its own" in told(*draw(GUIDED, "--start", "1"))


def test_a_workflow_as_the_editor_saves_it(told):
    quickstart = ROOT / "workflows" / "01 Quickstart.json"
    assert "Export (API)" in told(*draw("--start", "1", methods=f"quickstart={quickstart}"))


def test_no_prompts(told):
    assert "prompts cannot be read" in told(*draw("--servers", "http://127.0.0.1:1", "--prompts", "none.txt"))


def test_scores_and_reports_need_an_evaluation(told):
    assert "draw its pictures first" in told("report", "out")
    assert "draw its pictures first" in told("score", "out", "--clip", "clip")
    assert "nothing to score by" in told("score", "out")
