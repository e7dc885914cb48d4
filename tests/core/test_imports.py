"""The method stands without a host."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CORE = REPOSITORY / "rectifid_core"
HOST = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "execution", "folder_paths", "nodes", "server"}


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_line_imports_the_host(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, f"{path.name}:{node.lineno} reaches out of rectifid_core"
            roots = {node.module.split(".")[0]} if node.level == 0 else set()
        else:
            continue
        assert not roots & HOST, f"{path.name}:{node.lineno} imports the host"
        assert "rectifid_core" not in roots, f"{path.name}:{node.lineno}: inside the pack imports are relative"


def test_every_module_imports_in_a_fresh_interpreter(tmp_path):
    """Where no host is: the core alone in a folder."""
    shutil.copytree(CORE, tmp_path / "rectifid_core")
    modules = sorted(f"rectifid_core.{path.stem}" for path in CORE.glob("*.py") if path.stem != "__init__")
    code = f"import sys, {', '.join(modules)}; print(*set({sorted(HOST)}) & sys.modules.keys())"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
