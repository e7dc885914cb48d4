"""The tests and files that docs/ names exist."""

from __future__ import annotations

import ast
import re
from urllib.parse import unquote

import pytest

from tests.helpers.places import ROOT

FAMILIES = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
DOCUMENTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
ROWS = [line for line in FAMILIES.splitlines() if line.startswith("| **")]
NAMED = re.compile(r"`(test_\w+\.py)(?:::(\w+)|\[(\w+)\])`")


def named(text: str) -> list[tuple[str, str, str]]:
    """Each test that a text names: (file, function or class, id of a parameter)."""
    return NAMED.findall(text)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("**")[1])
def test_every_family_names_its_tests(row):
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == 4 and named(cells[3])


@pytest.mark.parametrize(("file", "name", "id_"), sorted(set(named(DOCUMENTS))))
def test_the_named_test_exists(file, name, id_):
    (path,) = ROOT.glob(f"tests/**/{file}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if name:
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    else:
        imports = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
        assert "FAMILIES" in imports
        names = [
            name.value
            for file in ("families.py", "newer_families.py")
            for node in ast.parse((ROOT / "tests" / "helpers" / file).read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign | ast.AnnAssign) and "FAMILIES" in ast.unparse(node).split("=")[0]
            for name in node.value.keys
        ]
        assert id_ in names


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((\.\./[^)]+)\)", DOCUMENTS))))
def test_its_links_lead_somewhere(target):
    assert (ROOT / "docs" / unquote(target)).exists()
