"""The registry's archive, without what .comfyignore leaves out, is a whole pack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.places import ROOT

RUN_EVERY_NODE_THAT_READS_OUR_FILES = """
import asyncio, importlib.util, sys
host, folder = sys.argv[1:]
sys.path.insert(0, host)
from comfy.cli_args import args
args.cpu = True
import utils.extra_config
spec = importlib.util.spec_from_file_location("rectifid_published", folder + "/__init__.py")
sys.modules[spec.name] = pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
nodes = asyncio.run(pack.RectifIDExtension().get_node_list())
by_id = {node.GET_SCHEMA().node_id: node for node in nodes}
import torch
with torch.inference_mode():
    by_id["LoadDemoModel"].execute()
    by_id["LoadDemoVision"].execute()
    by_id["DrawDemoPortrait"].execute(5_000_000, "a smiling person")
    by_id["LoadDemoDiscriminator"].execute()
    by_id["SegmentationGuidance"].execute("embedded", torch.ones(1, 128, 128), "hat")
print(*by_id)
"""


def git(*options: str) -> list[str]:
    done = subprocess.run(["git", "-C", ROOT, "ls-files", *options], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is no git checkout")
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder that a user gets: what `comfy node publish` would pack."""
    folder = tmp_path_factory.mktemp("published")
    for name in set(git()) - set(git("--cached", "--ignored", f"--exclude-from={ROOT / '.comfyignore'}")):
        if (ROOT / name).is_file():  # deleted, and not committed yet
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def test_development_files_stay_out(published):
    names = {path.relative_to(published).as_posix() for path in published.rglob("*")}
    assert not {name for name in names if name.startswith((".", "tests", "benchmarks", "rectifid_eval", "demo/train"))}
    assert {"README.md", "LICENSE", "requirements.txt", "pyproject.toml", "workflows/01 Quickstart.json"} <= names


def test_its_nodes_load_find_their_files_and_have_help_pages(published):
    host = os.environ["COMFYUI_PATH"]
    command = [sys.executable, "-c", RUN_EVERY_NODE_THAT_READS_OUR_FILES, host, str(published)]
    done = subprocess.run(command, cwd=published, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in (published / "web" / "docs").glob("*.md")}
    assert set(done.stdout.splitlines()[-1].split()) == pages


def test_the_download_command_is_in_it(published):
    command = [sys.executable, "-m", "scripts.download_face_pack", "--help"]
    done = subprocess.run(command, cwd=published, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
