"""Nodes of other packs, really run.  RECTIFID_PACKS names a folder with their folders; none of their code is here.

They are given the smallest random weights that their own loaders take, in the host of COMFYUI_PATH.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.helpers.host import has_host

PACKS = os.environ.get("RECTIFID_PACKS")

if not has_host() or not PACKS:

    class WithoutPacks(pytest.Module):
        def collect(self):
            wanted = "RECTIFID_PACKS to a folder with the folders of other packs" if has_host() else "COMFYUI_PATH"
            pytest.skip(f"set {wanted}", allow_module_level=True)

    def pytest_pycollect_makemodule(module_path, parent):
        return WithoutPacks.from_parent(parent, path=module_path)

else:
    from tests.host.conftest import (  # noqa: F401  fixtures
        as_nodes_run,
        brightness,
        job,
        look_inside,
        nodes,
        pack,
        parts,
        run,
        small_vae,
        unet,
        unet_state,
    )

    @pytest.fixture(scope="session")
    def packs():
        return Path(PACKS)

    @pytest.fixture(scope="session")
    def packs_cache(tmp_path_factory):
        return tmp_path_factory.mktemp("packs")

    @pytest.fixture
    def files(tmp_path, monkeypatch, packs, packs_cache):
        """Where the packs lie, and what they load."""
        return SimpleNamespace(loras=tmp_path, monkeypatch=monkeypatch, packs=packs, packs_cache=packs_cache)
