"""What a server under test finds in its folders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from scripts import environment
from scripts.workflow import other_packs

from .graphs import WORKFLOWS, read
from .places import ROOT, SHARED

FACE_MODELS = [SHARED / "models" / name for name in ("scrfd_2.5g_bnkps.onnx", "mobilefacenet.onnx")]

COMPLETE = [path for path in WORKFLOWS if not other_packs(read(path))]  # whose nodes a server with this pack alone has


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


def write_base(base: Path) -> Path:
    """A base directory for a server of its own, with this pack and the `faulty_nodes`; returns it."""
    environment.link_pack(base / "custom_nodes" / "rectifid")
    shutil.copy(Path(__file__).with_name("faulty_nodes.py"), base / "custom_nodes")
    recognisers = base / "models" / "discriminators"
    recognisers.mkdir(parents=True)
    (recognisers / "truncated.onnx").write_bytes(b"\x08\x07\x12")
    (base / "input").mkdir()
    (base / "tmp").mkdir()
    return base


def write_pack_copy(folder: Path) -> Path:
    """The pack's files as a user has them, in a folder of any name; returns it."""
    left_out = shutil.ignore_patterns(".*", "__pycache__", "tests", "benchmarks", "output", "docs")
    shutil.copytree(ROOT, folder, ignore=left_out)
    return folder


def write_small_models(models: Path, *programs: str) -> None:
    """Runs programs of this package (`small_models`, `small_additions`), each in a process of its own with the host.

    By `helpers`, not by `tests.helpers`: a package `tests` among those installed would go before our folder `tests`.
    """
    host = os.environ.get("COMFYUI_PATH", environment.BASE)
    for program in programs:
        command = [sys.executable, "-m", f"helpers.{program}", str(host), str(models)]
        subprocess.run(command, cwd=ROOT / "tests", check=True)
