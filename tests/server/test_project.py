"""What installers and the registry read."""

from __future__ import annotations

import re

import pytest

from scripts.environment import PACK_REQUIREMENTS, ROOT

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader")


@pytest.fixture(scope="module")
def settings():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_both_lists_of_requirements_are_the_same(settings):
    assert settings["project"]["dependencies"] == PACK_REQUIREMENTS.read_text().splitlines()


def test_torch_is_left_to_the_host(settings):
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in settings["project"]["dependencies"]}
    assert not names & {"torch", "torchvision", "torchaudio"}


def test_the_registry_gets_what_it_wants(settings):
    assert "comfyui" not in settings["project"]["name"].lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", settings["project"]["version"])
    assert settings["tool"]["comfy"]["requires-comfyui"] == ">=0.3.75"
    assert settings["tool"]["comfy"]["PublisherId"] and settings["tool"]["comfy"]["DisplayName"]


def test_the_changelog_begins_with_this_version(settings):
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[(.+?)\]", changelog, re.MULTILINE)[1] == settings["project"]["version"]
