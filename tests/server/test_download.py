"""The download command, from a server on this machine."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scripts.download_face_pack import PACKS, DownloadError, Pack, download_pack, main

DETECTOR, RECOGNISER = b"a detector", b"a recogniser"
FILES = {"det.onnx": hashlib.sha256(DETECTOR).hexdigest(), "rec.onnx": hashlib.sha256(RECOGNISER).hexdigest()}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A web server, its folder and its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "web"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def nested_zip(path, recogniser=RECOGNISER):
    """As antelopev2.zip is: in a folder of its own, with files that nobody needs."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/det.onnx", DETECTOR)
        archive.writestr("tiny/rec.onnx", recogniser)
        archive.writestr("tiny/landmarks.onnx", b"unused")
        archive.writestr("../outside.onnx", b"hostile")


def test_a_zip_is_unpacked_checked_and_flattened(web, models):
    folder, address = web
    nested_zip(folder / "tiny.zip")
    packs = {"tiny": Pack((f"{address}/tiny.zip",), FILES, "free")}
    assert download_pack("tiny", models, packs) == models / "tiny"
    assert {file.name: file.read_bytes() for file in (models / "tiny").iterdir()} == {
        "det.onnx": DETECTOR,
        "rec.onnx": RECOGNISER,
    }
    assert [each.name for each in models.iterdir()] == ["tiny"]

    (folder / "tiny.zip").unlink()
    assert download_pack("tiny", models, packs) == models / "tiny", "what is there already is not downloaded again"


def test_single_files_are_downloaded_too(web, models):
    folder, address = web
    (folder / "det.onnx").write_bytes(DETECTOR)
    (folder / "rec.onnx").write_bytes(RECOGNISER)
    download_pack("tiny", models, {"tiny": Pack(tuple(f"{address}/{file}" for file in FILES), FILES, "free")})
    assert {file.name for file in (models / "tiny").iterdir()} == set(FILES)


def test_a_file_with_another_checksum_is_refused_and_deleted(web, models):
    folder, address = web
    nested_zip(folder / "tiny.zip", recogniser=b"something else")
    with pytest.raises(DownloadError, match=r"rec\.onnx is not"):
        download_pack("tiny", models, {"tiny": Pack((f"{address}/tiny.zip",), FILES, "free")})
    assert list(models.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tiny.zip", b"not a zip", "zip"),
        ("det.onnx", DETECTOR, r"rec\.onnx"),
        ("absent.zip", None, r"absent\.zip"),
    ],
)
def test_a_failed_download_names_the_file_and_leaves_nothing(web, models, name, content, said):
    folder, address = web
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DownloadError, match=said):
        download_pack("tiny", models, {"tiny": Pack((f"{address}/{name}",), FILES, "free")})
    assert list(models.iterdir()) == []


def test_a_pack_without_known_checksums_is_refused(models):
    with pytest.raises(DownloadError, match="checksum.*antelopev2"):
        download_pack("buffalo_xxl", models)


def test_the_command_needs_a_folder_of_comfyui(tmp_path, capsys):
    assert main(["buffalo_l", "--to", str(tmp_path)]) == 1
    assert "ComfyUI" in capsys.readouterr().out


@pytest.mark.parametrize("name", PACKS)
def test_each_known_pack_is_complete(name):
    pack = PACKS[name]
    assert pack.licence and all(url.startswith("https://") for url in pack.urls)
    assert all(len(digest) == 64 and int(digest, 16) for digest in pack.files.values())
    assert len(pack.files) >= 2, "a detector and a recogniser at least"


def test_a_bomb_is_refused_before_it_is_unpacked(web, models):
    folder, address = web
    with zipfile.ZipFile(folder / "tiny.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/det.onnx", DETECTOR)
        with archive.open("tiny/rec.onnx", "w", force_zip64=True) as bomb:
            for _ in range(400):
                bomb.write(bytes(1 << 20))
    with pytest.raises(DownloadError, match=r"rec\.onnx of 400 MiB in .*nothing was unpacked"):
        download_pack("tiny", models, {"tiny": Pack((f"{address}/tiny.zip",), FILES, "free")})
    assert list(models.iterdir()) == []
