"""CONTRIBUTING.md: its example runs, and its tree is the one of this repository."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.helpers.places import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
TREE = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)[0]


def rooms():
    """The paths that the picture names, by their indentation."""
    parents = {0: ""}
    for line in TREE.splitlines():
        indent = len(line) - len(line.lstrip())
        for name in re.match(r"(\S+(?:  \S+)*)", line.strip())[1].split():
            yield parents[indent] + name
        parents[indent + 2] = parents[indent] + name


def test_the_example_without_comfyui_brings_the_similarity_up():
    done = subprocess.run([sys.executable, "-c", EXAMPLE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    similarities = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(similarities) == 11
    assert similarities[-1] > similarities[0] + 0.2


@pytest.mark.parametrize("room", list(rooms()))
def test_every_room_of_its_tree_exists(room):
    assert (ROOT / room).exists()


def test_its_tree_shows_every_room():
    packages = {
        path.parent.relative_to(ROOT).as_posix() + "/"
        for folder in ("nodes", "rectifid_core")
        for path in [*(ROOT / folder).glob("*/__init__.py"), *(ROOT / folder / "host").glob("*/__init__.py")]
    }
    assert packages <= set(rooms())


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w./]+/[\w./]*)`", TEXT))))
def test_the_files_that_it_names_exist(path):
    assert (ROOT / path).exists()
