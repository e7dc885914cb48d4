"""One real ComfyUI server for all tests of this folder, with folders of its own and only this pack in it.

Its models are what a user of the shipped workflows has, with small stand-ins for what is large.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from scripts import demo, environment
from scripts.comfy_server import serving
from scripts.editor import find_chromium
from scripts.workflow import model_files

sys.path.append(str(environment.ROOT / "tests"))  # for `subject_folders`
SHARED = Path(os.environ.get("RECTIFID_SHARED", environment.ROOT.parent / "shared"))
FACE_MODELS = [SHARED / "data" / "models" / name for name in ("scrfd_2.5g_bnkps.onnx", "mobilefacenet.onnx")]


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


def write_face_pack(folder: Path) -> None:
    """Nested in itself, as antelopev2's archive unpacks: a real detector and recogniser where the shared data is at
    hand, and a model of gender and age that sees a man of 40 in everybody."""
    folder.mkdir(parents=True)
    for model in FACE_MODELS:
        if model.is_file():
            shutil.copy(model, folder)
    answer = numpy_helper.from_array(np.array([[0.0, 1.0, 0.4]], "float32"), "answer")
    zero = numpy_helper.from_array(np.zeros((3, 3), "float32"), "zero")
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "zero", "answer"], ["fc1"]),
        ],
        "gender_and_age",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["batch", 3, 96, 96])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, ["batch", 3])],
        [zero, answer],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "genderage.onnx")


def write_subject_models(folder: Path) -> None:
    from subject_folders import write_detector, write_embedder

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
