"""The nodes' words in other languages are those of their schemas, and none is forgotten."""

from __future__ import annotations

import json

import pytest

from scripts.locales import FRONT_END, LANGUAGES, Untranslated, files, node_words, own, read_table


@pytest.fixture(scope="module")
def nodes(object_info):
    return own(object_info)


def test_the_files_are_what_the_script_writes(nodes):
    for path, text in files(nodes).items():
        assert path.read_text(encoding="utf-8") == text, "run `python -m scripts.locales`"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_server_hands_them_to_the_editor(server, nodes, language):
    served = json.loads(server.get("/i18n"))[language]
    assert set(served["nodeDefs"]) >= set(nodes) and set(served["rectifid"]) == set(FRONT_END)


def test_a_node_without_a_translation_is_named(nodes):
    new = {"New": {**nodes["FindSeed"], "display_name": "A New Node"}}
    with pytest.raises(Untranslated, match="A New Node"):
        node_words(new, "de")


def test_no_line_of_the_table_is_empty_or_breaks_the_editors_messages():
    """The front end's messages give braces, bars and at signs a meaning."""
    for row in read_table().values():
        assert all(row.values()) and not any(mark in text for text in row.values() for mark in "{}|@")
