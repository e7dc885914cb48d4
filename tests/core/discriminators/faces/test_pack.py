"""Packs are known by what their files take and give; what is none says so with advice."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest

from rectifid_core.discriminators.faces.pack import FacePackError, find_packs, read_pack
from tests.helpers.face_packs import write_attributes, write_detector, write_onnx, write_recogniser
from tests.helpers.portraits import real_pack


def write_landmarks(path):
    """A network for 106 points, as some packs have."""
    nodes = [
        ("GlobalAveragePool", ["image"], "mean", {}),
        ("Flatten", ["mean"], "flat", {}),
        ("MatMul", ["flat", "weights"], "points", {}),
    ]
    weights = np.ones((3, 212), np.float32)
    return write_onnx(path, ["batch", 3, 192, 192], nodes, {"points": [1, 212]}, weights=weights)


def write_pack(folder):
    """The names tell nothing, on purpose."""
    write_landmarks(folder / "a.onnx")
    write_recogniser(folder / "b.onnx")
    write_attributes(folder / "c.onnx")
    write_detector(folder / "d.ONNX")
    (folder / "LICENSE.txt").write_text("free")
    (folder / "._b.onnx").write_bytes(b"\0\5\x16\7")  # what archives from a Mac contain
    return folder


@pytest.mark.parametrize("inner", ["", "toy"])
def test_files_by_what_they_are(tmp_path, inner):
    folder = write_pack(tmp_path / "toy" / inner)
    pack = read_pack(tmp_path / "toy")
    assert pack.name == "toy"
    assert [pack.recogniser, pack.attributes, pack.detector] == [folder / n for n in ("b.onnx", "c.onnx", "d.ONNX")]
    (folder / "c.onnx").unlink()
    assert read_pack(tmp_path / "toy").attributes is None


def test_the_real_files(tmp_path):
    pack = read_pack(real_pack(tmp_path / "real"))
    assert (pack.detector.name, pack.recogniser.name) == ("scrfd_2.5g_bnkps.onnx", "mobilefacenet.onnx")


def test_of_several_recognisers_the_first(tmp_path, caplog):
    folder = write_pack(tmp_path / "toy")
    write_recogniser(folder / "Z.onnx", side=128)
    with caplog.at_level(logging.INFO):
        assert read_pack(folder).recogniser.name == "Z.onnx"
    assert "toy has several files for its recogniser (Z.onnx, b.onnx)" in caplog.text


def test_names_for_a_choice(tmp_path):
    write_pack(tmp_path / "one" / "packs" / "inside" / "inside")
    write_pack(tmp_path / "one" / "packs" / "b")
    write_pack(tmp_path / "two" / "b")
    (tmp_path / "two" / "empty").mkdir()
    (tmp_path / "two" / "file.onnx").write_bytes(b"")
    assert list(find_packs([tmp_path / "one" / "packs", tmp_path / "two", tmp_path / "none"])) == ["b", "inside"]


def test_no_folder(tmp_path):
    with pytest.raises(FacePackError) as error:
        read_pack(tmp_path / "antelopev2")
    for part in ("antelopev2", str(tmp_path / "antelopev2"), "insightface", "AuraFace-v1"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ({"d.ONNX"}, "toy has no detector"),
        ({"b.onnx"}, "toy has no recogniser"),
        ({"a.onnx", "b.onnx", "c.onnx", "d.ONNX"}, "toy has no detector.*Found: no .onnx file"),
    ],
)
def test_a_pack_that_lacks_something(tmp_path, lost, message):
    folder = write_pack(tmp_path / "toy")
    for name in lost:
        (folder / name).unlink()
    with pytest.raises(FacePackError, match=message) as error:
        read_pack(folder)
    said = str(error.value)
    for part in (str(folder), "scrfd_10g_bnkps.onnx", "glintr100.onnx", "insightface", "AuraFace-v1"):
        assert part in said
    assert ("a.onnx: takes (any, 3, 192, 192) and gives (1, 212)" in said) == ("a.onnx" not in lost)
    assert ("c.onnx: attributes" in said) == ("c.onnx" not in lost)


def test_a_detector_without_landmarks(tmp_path):
    folder = write_pack(tmp_path / "toy")
    write_detector(folder / "d.ONNX", parts=("scores", "boxes"))
    with pytest.raises(FacePackError, match="no detector.*d.ONNX: a face detector without landmarks"):
        read_pack(folder)


@pytest.mark.parametrize("settings", [{"side": "side"}, {"side": 160}, {"width": 3}])
def test_what_is_no_recogniser(tmp_path, settings):
    folder = write_pack(tmp_path / "toy")
    if settings.get("side") == "side":
        write_onnx(folder / "b.onnx", ["batch", 3, "h", "w"], [("Flatten", ["image"], "flat", {})], {"flat": [1, 512]})
    else:
        write_recogniser(folder / "b.onnx", **settings)
    with pytest.raises(FacePackError, match=r"no recogniser.*b.onnx: takes \(any, 3, "):
        read_pack(folder)


def test_a_damaged_file(tmp_path):
    folder = write_pack(tmp_path / "toy")
    whole = (folder / "b.onnx").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"<html>not found</html>" * 50):
        (folder / "b.onnx").write_bytes(damaged)
        with pytest.raises(FacePackError, match="face pack toy, in .*toy: b.onnx is not an ONNX file, or only a part"):
            read_pack(folder)


@pytest.mark.parametrize("name", ["b.onnx", "c.onnx", "d.ONNX"])
def test_weights_outside_of_the_pack(tmp_path, name):
    folder = write_pack(tmp_path / "toy")
    (tmp_path / "secret.bin").write_bytes(b"\0" * 1_000_000)
    model = onnx.load(folder / name, format="protobuf")
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "../secret.bin")
    tensor.ClearField("raw_data")
    (folder / name).write_bytes(model.SerializeToString())
    with pytest.raises(FacePackError, match=f"toy.*{name} reads weights from outside of its own folder"):
        read_pack(folder)
