"""Writes locales/<language>/*.json, the nodes' words in other languages, from their schemas and `translations.txt`.

Run as `.venv/bin/python -m scripts.locales`, after `run.py` has set everything up: a server is asked for the schemas.
A tooltip or description is translated by its beginning, up to the first stop, colon or semicolon.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

from .comfy_server import serving
from .environment import ROOT, link_pack

LANGUAGES = ("en", "zh", "ja", "de")
FOLDER = ROOT / "locales"
TABLE = Path(__file__).with_name("translations.txt")
FRONT_END = ("Stop and keep best", "The likeness of each iteration shows here.")  # web/run.js asks for these


class Untranslated(Exception):
    """What the table lacks."""


def read_table() -> dict[str, dict[str, str]]:
    """English text -> language -> text."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split(" | ")] for line in lines if line and not line.startswith("#")]
    return {row[0]: dict(zip(LANGUAGES, row, strict=True)) for row in rows}


def beginning(text: str) -> str:
    """By which a longer text is known in the table."""
    found = re.match(r"(.+?)[.:;](\s|$)", text, re.DOTALL)
    return found[1] if found else text


def node_words(object_info: dict[str, dict], language: str) -> dict[str, dict]:
    """nodeDefs.json of a language; raises Untranslated, with all that is missing."""
    table, missing = read_table(), []

    def translated(text: str, key: str) -> str:
        if language == "en":
            return text
        if key not in table:
            missing.append(key)
            return text
        return table[key][language]

    def entry(name: str, tooltip: str) -> dict[str, str]:
        return {"name": translated(name, name), "tooltip": translated(tooltip, beginning(tooltip))}

    words = {}
    for node, info in object_info.items():
        inputs = info["input"].get("required", {}) | info["input"].get("optional", {})
        words[node] = {
            "display_name": translated(info["display_name"], info["display_name"]),
            "description": translated(info["description"], beginning(info["description"])),
            "inputs": {name: entry(name, options["tooltip"]) for name, (_, options) in inputs.items()},
            "outputs": {
                str(slot): entry(name, tooltip)
                for slot, (name, tooltip) in enumerate(zip(info["output_name"], info["output_tooltips"], strict=True))
            },
        }
    if missing:
        raise Untranslated(f"{TABLE.name} has no line for: " + "; ".join(dict.fromkeys(missing)))
    return words


def main_words(object_info: dict[str, dict], language: str) -> dict[str, dict]:
    """main.json of a language: the shelves of the menu, and the words of the front end."""
    table = read_table()
    shelves = {shelf for info in object_info.values() for shelf in info["category"].split("/")[1:]}
    return {
        "nodeCategories": {"RectifID": "RectifID", **{shelf: table[shelf][language] for shelf in sorted(shelves)}},
        "rectifid": {words: table[words][language] for words in FRONT_END},
    }


def files(object_info: dict[str, dict]) -> dict[Path, str]:
    """All files that belong into `FOLDER`, with their text; object_info: of this pack's nodes."""
    written = {}
    for language in LANGUAGES:
        parts = {"nodeDefs": node_words(object_info, language), "main": main_words(object_info, language)}
        for name, words in parts.items():
            text = json.dumps(words, ensure_ascii=False, indent=1, sort_keys=True)
            written[FOLDER / language / f"{name}.json"] = text + "\n"
    return written


def own(object_info: dict[str, dict]) -> dict[str, dict]:
    """Of all that a server knows, this pack's nodes."""
    return {node: info for node, info in object_info.items() if info["python_module"] == "custom_nodes.rectifid"}


def main() -> int:
    """Write every file anew."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        link_pack(base / "custom_nodes" / "rectifid")
        with serving(base, base / "output") as server:
            object_info = own(server.object_info())
    for path, text in files(object_info).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
