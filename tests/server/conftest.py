"""One real ComfyUI server for all tests of this folder, with folders of its own and only this pack in it.

Its models are what a user of the shipped workflows has, with small stand-ins for what is large.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from scripts import demo, environment
from scripts.comfy_server import serving
from scripts.editor import find_chromium
from scripts.workflow import model_files
from tests.helpers.servers import FACE_MODELS, write_face_pack
from tests.helpers.subject_folders import write_detector, write_embedder


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The server's base directory."""
    base = tmp_path_factory.mktemp("comfyui")
    environment.link_pack(base / "custom_nodes" / "rectifid")
    models = base / "models"
    (models / "discriminators").mkdir(parents=True)
    (models / "discriminators" / "truncated.onnx").write_bytes(b"\x08\x07\x12")
    for graph in (environment.ROOT / "workflows").glob("*.json"):
        for directory, file in model_files(json.loads(graph.read_text(encoding="utf-8"))):
            (models / directory).mkdir(exist_ok=True)
            (models / directory / file).touch()  # to be chosen, never to be loaded
    (base / "input").mkdir()
    host = Path(os.environ.get("COMFYUI_PATH", environment.BASE))
    shutil.copy(host / "input" / "example.png", base / "input")
    write_face_pack(models / "insightface" / "models" / "antelopev2" / "antelopev2")
    write_subject_models(models / "transformers")
    return base


def write_subject_models(folder: Path) -> None:
    write_embedder(folder / "dinov2-base")
    write_detector(folder / "owlvit-base-patch32")


@pytest.fixture(scope="session")
def server(base):
    with serving(base, base / "output") as server:
        yield server


@pytest.fixture(scope="session")
def object_info(server):
    return server.object_info()


@pytest.fixture(scope="session")
def weights():
    if not demo.JUDGE.is_file():
        pytest.skip(f"the embedded model is absent ({demo.JUDGE.parent})")


@pytest.fixture(scope="session")
def face_models():
    if not all(model.is_file() for model in FACE_MODELS):
        pytest.skip(f"no face models in {FACE_MODELS[0].parent}; RECTIFID_SHARED names the folder that has data/models")


@pytest.fixture(scope="session")
def chromium():
    return find_chromium() or pytest.skip("no browser: install Chromium, or name one by CHROMIUM_PATH")
