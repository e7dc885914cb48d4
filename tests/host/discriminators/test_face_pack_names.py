"""Load Face Discriminator takes the packs that its combo offers, as they are when it runs, and no path."""

import os
import shutil

import folder_paths
import pytest

from tests.helpers.face_packs import write_pack

pytest.importorskip("insightface")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "insightface"
    folder.mkdir()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(folder)], set()))
    return folder


@pytest.fixture
def toy(folder):
    return write_pack(folder / "models" / "toy")


@pytest.fixture
def node(nodes):
    return nodes["LoadFaceDiscriminator"]


def options(node):
    return node.INPUT_TYPES()["required"]["pack"][1]["options"]


def test_only_names_that_are_offered(run, node, toy, tmp_path):
    outside = write_pack(tmp_path / "outside")
    hostile = ["../../outside", str(outside), str(toy), "toy/", "./toy", "/", ".", "..", "", "models/toy", "a\0b"]
    for pack in [*hostile, "\udcff", "x" * 300, 5, ["toy"], {}]:
        assert "no face pack" in node.validate_inputs(pack=pack), pack
        with pytest.raises(ValueError, match="no face pack"):
            run("LoadFaceDiscriminator", pack=pack)
        with pytest.raises(ValueError, match="no face pack"):
            node.fingerprint_inputs(pack=pack)
    assert len(node.validate_inputs(pack="x" * 10_000)) < 2000
    node.validate_inputs(pack="\udcff").encode()


@pytest.mark.parametrize("precision", ["fp8", "", 32, ["fp32"]])
def test_a_precision_that_is_none(run, node, toy, precision):
    with pytest.raises(ValueError, match="precision .* fp32, fp16, bf16"):
        run("LoadFaceDiscriminator", pack="toy", precision=precision)


def test_a_pack_that_came_after_the_combo_is_loaded(run, node, folder):
    [placeholder] = options(node)
    assert "no face pack" in node.validate_inputs(pack=placeholder)
    write_pack(folder / "models" / "toy")
    assert node.validate_inputs(pack=placeholder) is True
    assert run("LoadFaceDiscriminator", pack=placeholder).result[0].name == "toy"
    write_pack(folder / "models" / "other")
    assert "other, toy" in node.validate_inputs(pack=placeholder)


@pytest.mark.parametrize("change", ["same time and size", "link"])
def test_a_file_that_was_replaced_is_loaded_again(node, toy, change):
    file = toy / "rec.onnx"
    before = node.fingerprint_inputs(pack="toy")
    assert node.fingerprint_inputs(pack="toy") == before
    stat = file.stat()
    new = toy / "new"
    shutil.copy(file, new)
    os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    if change == "link":
        file.unlink()
        try:
            os.symlink(new, file)
        except OSError:
            pytest.skip("no links here")
    else:
        new.replace(file)
    assert node.fingerprint_inputs(pack="toy") != before
