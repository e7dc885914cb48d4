"""The face discriminator, by small networks whose answers are known, and files that cannot serve as one."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F

from rectifid_core.discriminators.faces.discriminator import load_face_discriminator
from rectifid_core.discriminators.faces.doubts import SMALLEST
from rectifid_core.discriminators.faces.pack import FacePackError
from rectifid_core.discriminators.faces.runtime import as_bgr
from rectifid_core.images.regions import Region
from tests.helpers.face_packs import (
    write_attributes,
    write_onnx,
    write_pack,
)
from tests.helpers.worlds import rng

pytest.importorskip("insightface")


def test_without_insightface(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    with pytest.raises(ImportError, match="faces need the Python package insightface.*pip install"):
        load_face_discriminator(write_pack(tmp_path / "toy"))


def test_what_it_is(tmp_path):
    folder = write_pack(tmp_path / "toy", side=128)
    write_attributes(folder / "genderage.onnx")
    toy = load_face_discriminator(folder, threshold=0.4)
    assert (toy.name, toy.noun, toy.detects, toy.threshold, toy.input_size) == ("toy", "face", True, 0.4, 128)
    assert len(toy.digest) == 64 and toy.digest != load_face_discriminator(write_pack(tmp_path / "b", width=65)).digest
    assert toy.networks == [toy.network] and toy.pack.attributes == folder / "genderage.onnx"
    with pytest.raises(ValueError, match="cannot read 'a man'; leave the text empty"):
        toy.text_query("a man")


def test_each_image_has_its_faces(tmp_path):
    toy = load_face_discriminator(write_pack(tmp_path / "toy"))
    images = torch.zeros(2, 3, 64, 64)
    images[1] = 1
    assert [len(faces) for faces in toy.locate(images)] == [4, 4]
    crops = toy.crop(images, [faces[0] for faces in toy.locate(images)])
    assert crops.shape == (2, 3, 112, 112) and (crops[0] == 0).all() and crops[1, :, 50:60, 50:60].min() > 0.999


@pytest.mark.parametrize("inside", [False, True], ids=["plain", "normalises"])
def test_normalisation_is_insightfaces(tmp_path, inside):
    """Networks that came from mxnet subtract the mean themselves."""
    prepare, constants = [], {}
    if inside:
        prepare = [("Sub", ["image", "mean"], "moved", {}), ("Mul", ["moved", "scale"], "prepared", {})]
        constants = {"mean": np.array([120.0], np.float32), "scale": np.array([0.01], np.float32)}
    toy = load_face_discriminator(write_pack(tmp_path / "toy", prepare=prepare, **constants))
    crop = (torch.rand(1, 3, 112, 112, generator=rng()) * 255).round() / 255
    from insightface.model_zoo import ArcFaceONNX

    wanted = torch.from_numpy(ArcFaceONNX(str(toy.pack.recogniser)).get_feat(as_bgr(crop[0])))
    torch.testing.assert_close(toy.embed(crop), F.normalize(wanted), atol=1e-5, rtol=1e-5)


def test_faces_too_small_or_blurred_to_be_a_reference(tmp_path):
    toy = load_face_discriminator(write_pack(tmp_path / "toy"))
    sharp = torch.rand(3, 112, 112, generator=rng())
    assert toy.doubt(Region((0, 0, SMALLEST, 80)), sharp) is None
    assert "only 31 pixels wide" in toy.doubt(Region((0, 0, 31, 40)), sharp)
    assert "100 pixels wide, is blurred" in toy.doubt(Region((0, 0, 100, 130)), torch.full((3, 112, 112), 0.5))


def hostile(folder, kind):
    write_pack(folder)
    rec, det = folder / "rec.onnx", folder / "det.onnx"
    if kind == "operator":
        nodes = [("Det", ["image"], "d", {}), ("MatMul", ["d", "w"], "embedding", {})]
        write_onnx(rec, ["batch", 3, 112, 112], nodes, {"embedding": ["batch", 64]}, w=np.ones((3, 64), np.float32))
    elif kind == "wrong weights":
        write_onnx(
            rec, ["batch", 3, 112, 112], [("MatMul", ["image", "w"], "e", {})], {"e": [1, 64]}, w=np.ones((5, 64))
        )
    elif kind == "no embedding":
        write_onnx(rec, ["batch", 3, 112, 112], [("Relu", ["image"], "embedding", {})], {"embedding": ["batch", 64]})
    elif kind == "five images":
        model = onnx.load(rec)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
        onnx.save(model, rec)
    elif kind == "truncated":
        det.write_bytes(det.read_bytes()[:-100])
    elif kind == "broken graph":
        model = onnx.load(det)
        model.graph.node[0].op_type = "NoSuchOperator"
        onnx.save(model, det)
    elif kind == "wrong counts":
        model = onnx.load(det)
        for tensor in model.graph.initializer:
            if tensor.name.startswith("all_boxes"):
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((7, 4), np.float32), tensor.name))
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.shape.dim[0].dim_param = "n"
        onnx.save(model, det)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("operator", "rec.onnx uses an operator that cannot be converted"),
        ("wrong weights", "rec.onnx does not work as a face recogniser"),
        ("no embedding", r"rec.onnx makes \(1, 3, 112, 112\) of one face, and not one embedding"),
        ("five images", "rec.onnx takes exactly 5 images"),
        ("truncated", "det.onnx is not an ONNX file, or only a part of one"),
        ("broken graph", "onnxruntime cannot run det.onnx"),
        ("wrong counts", "det.onnx does not work as a face detector"),
    ],
)
def test_hostile_files(tmp_path, kind, message):
    hostile(tmp_path / "toy", kind)
    with pytest.raises(FacePackError, match=f"the face pack toy, in .*toy: {message}"):
        load_face_discriminator(tmp_path / "toy")
