"""One real ComfyUI server for all tests of this folder, with folders of its own and only this pack in it."""

from __future__ import annotations

import pytest

from scripts import demo, environment
from scripts.comfy_server import serving
from scripts.editor import find_chromium


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The server's base directory, with a broken recogniser among its models."""
    base = tmp_path_factory.mktemp("comfyui")
    environment.link_pack(base / "custom_nodes" / "rectifid")
    discriminators = base / "models" / "discriminators"
    discriminators.mkdir(parents=True)
    (discriminators / "truncated.onnx").write_bytes(b"\x08\x07\x12")
    return base


@pytest.fixture(scope="session")
def server(base):
    with serving(base, base / "output") as server:
        yield server


@pytest.fixture(scope="session")
def weights():
    if not demo.JUDGE.is_file():
        pytest.skip(f"the embedded model is absent ({demo.JUDGE.parent})")


@pytest.fixture(scope="session")
def chromium():
    return find_chromium() or pytest.skip("no browser: install Chromium, or name one by CHROMIUM_PATH")
