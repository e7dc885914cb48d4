"""Where packs are found: wherever people put insightface's folder, and nowhere else."""

from __future__ import annotations

import os

import pytest

from rectifid_core.discriminators.faces.pack import find_packs, pack_files
from tests.helpers.face_packs import write_pack


@pytest.mark.parametrize(
    ("named", "place"),
    [
        ("insightface", "insightface/models"),
        ("insightface/models", "insightface/models"),
        ("insightface/models", "insightface/models/models"),
    ],
)
def test_a_pack_is_found_whether_the_folder_or_its_models_is_named(tmp_path, named, place):
    folder = write_pack(tmp_path / place / "toy")
    assert find_packs([tmp_path / named]) == {"toy": folder}


def test_a_pack_directly_in_the_folder_is_found(tmp_path):
    folder = write_pack(tmp_path / "insightface" / "toy")
    assert find_packs([tmp_path / "insightface"]) == {"toy": folder}


@pytest.mark.parametrize("inner", ["", "models"])
def test_files_of_a_pack_without_a_folder_of_their_own_are_found(tmp_path, inner):
    folder = write_pack(tmp_path / "insightface" / inner)
    assert find_packs([tmp_path / "insightface"]) == {folder.name: folder}


def test_a_single_network_beside_the_packs_is_none(tmp_path):
    folder = write_pack(tmp_path / "insightface" / "models" / "toy")
    (tmp_path / "insightface" / "inswapper_128.onnx").write_bytes(b"")
    assert find_packs([tmp_path / "insightface"]) == {"toy": folder}


def test_of_two_packs_of_one_name_the_first_counts(tmp_path):
    first = write_pack(tmp_path / "a" / "models" / "toy")
    write_pack(tmp_path / "a" / "toy")
    write_pack(tmp_path / "b" / "models" / "toy")
    assert find_packs([tmp_path / "a", tmp_path / "b"]) == {"toy": first}


def test_links_that_lead_nowhere_or_in_circles_are_passed_over(tmp_path):
    models = tmp_path / "insightface" / "models"
    folder = write_pack(models / "toy")
    try:
        os.symlink(models, models / "circle")
        os.symlink(models / "self", models / "self")
        os.symlink(tmp_path / "gone", models / "gone")
        os.symlink(tmp_path / "gone.onnx", folder / "gone.onnx")
    except OSError:
        pytest.skip("no links here")
    assert find_packs([tmp_path / "insightface"]) == {"toy": folder}
    assert [file.name for file in pack_files(folder)] == ["det.onnx", "rec.onnx"]


def test_an_unfinished_download_is_no_pack(tmp_path):
    write_pack(tmp_path / "models" / ".download-1234")
    assert find_packs([tmp_path]) == {}
