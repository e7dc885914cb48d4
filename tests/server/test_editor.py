"""The shipped workflows in the real front end, in a real browser."""

from __future__ import annotations

import json

import pytest

from scripts.demo import WORKFLOW
from scripts.editor import editing
from scripts.layout import overlaps
from tests.helpers.servers import COMPLETE


@pytest.fixture(scope="module")
def editor(server, chromium):
    with editing(chromium) as editor:
        editor.open(server)
        yield editor


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
def test_it_opens_without_errors(editor, path):
    editor.load(path)
    assert editor.missing_nodes() == []
    assert overlaps(editor.boxes()) == []
    assert editor.complaints() == []


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
def test_the_editor_saves_it_unchanged(editor, path):
    editor.load(path)
    saved = {node["id"]: node for node in editor.graph()["nodes"]}
    for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
        again = saved[node["id"]]
        assert [(s["name"], s["link"]) for s in again.get("inputs", [])] == [
            (socket["name"], socket["link"]) for socket in node["inputs"]
        ]
        if node["type"] != "PreviewAny":  # which keeps what it showed among its widgets
            assert again.get("widgets_values", []) == node["widgets_values"]


@pytest.mark.usefixtures("weights")
def test_run_shows_the_pictures(editor, tmp_path):
    editor.load(WORKFLOW)
    for sampler in ("KSampler", "AnchoredRectifiedSampler"):
        editor.set(sampler, "seed", 3)  # a run that no other test had, for the server remembers
    editor.run(seconds=300)
    assert editor.complaints() == []
    editor.screenshot(tmp_path / "editor.png")
    assert (tmp_path / "editor.png").stat().st_size > 50_000
