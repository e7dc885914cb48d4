"""Every name of the host that the pack imports, reads or calls is there, and takes what it is called with.

So that a new host tells at once what is gone: COMFYUI_PATH=/path/to/it python -m pytest tests/host/test_host_names.py
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.places import ROOT

HOST = {"comfy", "comfy_api", "comfy_execution", "comfyui_version", "folder_paths", "latent_preview", "server", "nodes"}
AT_RUN_TIME = {"instance"}  # attributes that a class has once the server is up: what follows is the class's own
UNKNOWN: Any = object()


class Names(ast.NodeVisitor):
    """Of a module of the pack: "comfy.samplers.KSampler.SCHEDULERS" and the like, and the calls of such."""

    def __init__(self, source: str):
        tree = ast.parse(source)
        self.bound: dict[str, str] = {}
        self.used: set[str] = set()
        self.calls: list[tuple[str, ast.Call]] = []
        for node in ast.walk(tree):
            self._bind(node)
        self.visit(tree)

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in HOST:
                    self.bound[alias.asname or alias.name.split(".")[0]] = (
                        alias.name if alias.asname else alias.name.split(".")[0]
                    )
                    self.used.add(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] in HOST:
            for alias in node.names:
                self.bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                self.used.add(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            function, arguments = ast.unparse(node.value.func), node.value.args
            name = arguments[0].value if arguments and isinstance(arguments[0], ast.Constant) else None
            if function.endswith("import_module") and name in HOST:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                self.bound[ast.unparse(target)] = str(name)

    def _dotted(self, node: ast.AST) -> str | None:
        if isinstance(node, ast.Name):
            return self.bound.get(node.id)
        if isinstance(node, ast.Attribute):
            before = self._dotted(node.value)
            return None if before is None else before if node.attr in AT_RUN_TIME else f"{before}.{node.attr}"
        return None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if (name := self._dotted(node)) is not None:
            self.used.add(name)
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if (name := self._dotted(node.func)) is not None:
            self.calls.append((name, node))
        self.generic_visit(node)


def modules() -> Iterator[tuple[Path, Names]]:
    for path in sorted([*(ROOT / "nodes").rglob("*.py"), ROOT / "__init__.py"]):
        yield path.relative_to(ROOT), Names(path.read_text(encoding="utf-8"))


USED = sorted({name for _, names in modules() for name in names.used})
CALLS = {
    f"{path.as_posix()}:{call.lineno} {name}": (name, call) for path, names in modules() for name, call in names.calls
}


def resolve(name: str) -> Any:
    """The object of that name in the running host; AttributeError or ImportError where there is none."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


def test_there_are_many():
    assert len(USED) > 60 and len(CALLS) > 100


@pytest.mark.parametrize("name", USED)
def test_the_host_has_it(name):
    resolve(name)


@pytest.mark.parametrize("call", CALLS)
def test_the_host_takes_these_arguments(call):
    name, node = CALLS[call]
    try:
        signature = inspect.signature(resolve(name))
    except ValueError:  # of C
        return
    if any(isinstance(each, ast.Starred) for each in node.args) or any(each.arg is None for each in node.keywords):
        signature.bind_partial(**{each.arg: None for each in node.keywords if each.arg})
    else:
        signature.bind(*node.args, **{each.arg: None for each in node.keywords if each.arg})


def test_a_name_that_is_gone_would_be_seen():
    names = Names("import comfy.samplers\nfrom comfy.sample import nothing\ncomfy.samplers.KSampler.NOTHING\n")
    gone = []
    for name in names.used:
        try:
            resolve(name)
        except (AttributeError, ImportError):
            gone.append(name)
    assert sorted(gone) == ["comfy.sample.nothing", "comfy.samplers.KSampler.NOTHING"]
