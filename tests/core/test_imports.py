"""The core needs no host, and its imports run one way."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.places import ROOT

CORE = ROOT / "rectifid_core"
MODULES = [path for path in CORE.rglob("*.py") if path.stem != "__init__"]
HOST = {
    "comfy",
    "comfy_api",
    "comfy_extras",
    "comfy_execution",
    "comfyui_version",
    "execution",
    "folder_paths",
    "nodes",
    "server",
}


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.relative_to(CORE).as_posix())
def test_no_line_imports_the_host(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            depth = len(path.relative_to(CORE).parts)
            assert node.level <= depth, f"{path}:{node.lineno} imports from outside of rectifid_core"
            roots = {node.module.split(".")[0]} if node.level == 0 else set()
        else:
            continue
        assert not roots & HOST, f"{path.name}:{node.lineno} imports the host"
        assert "rectifid_core" not in roots, f"{path.name}:{node.lineno}: inside the pack imports are relative"


# What each room may import, beside itself.
IMAGES, NETWORKS, CONTRACTS, PACKAGES = "images", "networks", {"interfaces", "scope"}, "packages"
ARROWS = {
    "packages": set(),
    "images": set(),
    "networks": set(),
    "scope": {IMAGES},
    "interfaces": {"scope"},
    "flows": {"interfaces"},
    "discriminators": {IMAGES, NETWORKS},
    "identity": {"discriminators", IMAGES},
    "guidance": {"identity", "discriminators", IMAGES} | CONTRACTS,
    "solver": CONTRACTS,
    "report": {"solver", "guidance", IMAGES} | CONTRACTS,
}


@pytest.mark.parametrize("path", sorted(MODULES), ids=lambda path: path.relative_to(CORE).as_posix())
def test_imports_run_one_way(path):
    parts = path.relative_to(CORE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            target = (*parts[: len(parts) - node.level], *(node.module or "").split("."))
            room = target[0] or node.names[0].name
            allowed = {parts[0], PACKAGES, *ARROWS[parts[0]]}
            assert room in allowed, f"{path}:{node.lineno}: {parts[0]} imports {room}"


EVALUATION = ROOT / "rectifid_eval"
# What each module of the evaluation may import of the others; the pack itself imports none of them.
EVALUATION_ARROWS = {
    "errors": set(),
    "intervals": set(),
    "scorers": set(),
    "workflows": {"errors"},
    "protocol": {"errors"},
    "results": {"errors"},
    "servers": {"workflows"},
    "engine": {"errors", "protocol", "results", "servers", "workflows"},
    "scores": {"errors", "protocol", "results", "scorers"},
    "report": {"intervals", "protocol", "results", "scorers"},
}


@pytest.mark.parametrize("name", EVALUATION_ARROWS)
def test_the_evaluation_imports_one_way_too(name):
    for node in ast.walk(ast.parse((EVALUATION / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level < 2
            if node.level:
                assert (node.module or node.names[0].name) in EVALUATION_ARROWS[name]
            else:
                assert node.module.split(".")[0] not in HOST | {"benchmarks", "demo", "tests"}


def test_every_module_of_the_evaluation_has_its_arrows():
    assert {path.stem for path in EVALUATION.glob("*.py")} == {"__init__", "__main__", *EVALUATION_ARROWS}


def test_the_pack_does_not_import_the_evaluation():
    for path in (
        ROOT / "__init__.py",
        *(ROOT / "nodes").rglob("*.py"),
        *CORE.rglob("*.py"),
        *(ROOT / "scripts").glob("*.py"),
    ):
        assert "rectifid_eval" not in path.read_text(encoding="utf-8"), path


def test_every_module_imports_in_a_fresh_interpreter(tmp_path):
    """Where no host is: the core alone in a folder."""
    shutil.copytree(CORE, tmp_path / "rectifid_core")
    modules = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES)
    code = f"import sys, {', '.join(modules)}; print(*set({sorted(HOST)}) & sys.modules.keys())"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
