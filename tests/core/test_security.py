"""What the pack runs loads no pickle, evaluates no text, starts no process and opens no connection: by its syntax.

SECURITY.md promises it.  scripts/ may, and is not in the registry's archive but for the download command.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

SHIPPED = [
    ROOT / "__init__.py",
    *(ROOT / "demo" / f"{name}.py" for name in ("portrait", "autoencoder", "text_encoder")),
]
FILES = sorted([*(ROOT / "nodes").rglob("*.py"), *(ROOT / "rectifid_core").rglob("*.py"), *SHIPPED])
MODULES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "codeop"),
    *("subprocess", "multiprocessing", "pty", "ctypes", "cffi", "webbrowser"),
    *("socket", "socketserver", "ssl", "urllib", "urllib3", "http", "ftplib", "smtplib", "telnetlib", "xmlrpc"),
    *("requests", "httpx", "websockets", "paramiko"),
}
BUILTINS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
METHODS = {
    *("torch.load", "torch.hub.load", "torch.jit.load", "torch.package", "torch.hub.load_state_dict_from_url"),
    *("os.system", "os.popen", "os.startfile", "os.fork", "os.execv", "os.execve", "os.spawnv", "os.spawnl"),
    *("numpy.load", "np.load", "pandas.read_pickle", "yaml.load", "builtins.eval", "builtins.exec"),
    *("huggingface_hub.snapshot_download", "huggingface_hub.hf_hub_download"),
}
NAMES = {"snapshot_download", "hf_hub_download", "load_state_dict_from_url", "download_file", "read_pickle"}
KEYWORDS = {"trust_remote_code", "allow_pickle", "weights_only", "shell"}
FREE_IMPORTS = {"rectifid_core/__init__.py"}  # whose names are its own modules'


def breaches(source: str, name: str = "") -> list[str]:
    """What of it runs more than its own lines: (line, what)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [each for each in names if each.split(".")[0] in MODULES or each in METHODS]
            found += [each for each in names if each.split(".")[-1] in NAMES]
        elif isinstance(node, ast.Attribute):
            if (dotted := ast.unparse(node)) in METHODS or node.attr in NAMES:
                found.append(dotted)
        elif isinstance(node, ast.Name) and node.id in BUILTINS | NAMES:
            found.append(node.id)
        elif isinstance(node, ast.keyword) and node.arg in KEYWORDS:
            found.append(node.arg)
        elif isinstance(node, ast.Constant) and node.value in ("trust_remote_code", "auto_map"):
            found.append(node.value)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "import_module":
            constant = node.args and isinstance(node.args[0], ast.Constant)
            if (not constant and name not in FREE_IMPORTS) or (
                constant and str(node.args[0].value).split(".")[0] in MODULES
            ):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_of_it_is_there(path: Path):
    assert not breaches(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import urllib.request",
        "from subprocess import run",
        "from torch import load",
        "x = torch.load(path)",
        "import torch\nf = torch.hub.load",
        "eval(text)",
        "run = exec",
        "f(trust_remote_code=True)",
        "f(**{'trust_remote_code': True})",
        "np.load(path)",
        "os.system(text)",
        "from huggingface_hub import snapshot_download",
        "importlib.import_module(name)",
        "import_module('socket')",
        "__import__(name)",
    ],
)
def test_each_kind_would_be_seen(line):
    assert breaches(line)


def test_the_archive_has_no_other_python_file_that_a_node_runs():
    """What .comfyignore leaves in, beside what is looked at here, is the download command, which a person starts."""
    ignored = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    assert "/scripts/*" in ignored and "/demo/*.py" in ignored
    kept = {line.removeprefix("!/") for line in ignored if line.startswith("!/") and line.endswith(".py")}
    assert kept == {
        "scripts/__init__.py",
        "scripts/download_face_pack.py",
        *(path.relative_to(ROOT).as_posix() for path in SHIPPED if path.parent.name == "demo"),
    }
