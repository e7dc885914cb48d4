"""The quickstart in the real front end, in a real browser."""

from __future__ import annotations

import pytest

from scripts.demo import WORKFLOW
from scripts.editor import editing


@pytest.fixture(scope="module")
def editor(server, chromium):
    with editing(chromium) as editor:
        editor.open(server)
        editor.load(WORKFLOW)
        yield editor


def test_the_quickstart_opens_without_a_complaint(editor):
    assert editor.missing_nodes() == []
    assert editor.complaints() == []


@pytest.mark.usefixtures("weights")
def test_run_shows_the_pictures(editor, tmp_path):
    for sampler in ("KSampler", "AnchoredRectifiedSampler"):
        editor.set(sampler, "seed", 3)  # a run that no other test had, for the server remembers
    editor.run(seconds=300)
    assert editor.complaints() == []
    editor.screenshot(tmp_path / "editor.png")
    assert (tmp_path / "editor.png").stat().st_size > 50_000
