"""What machines and other packs do to a server: full memory and disks, odd folders, models sent away, two servers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.comfy_server import ServerError
from tests.helpers.runs import digest, drawn, portrait, served
from tests.helpers.servers import write_base, write_pack_copy
from tests.soak.prompts import SAMPLER, node, settings
from tests.soak.soak import run_plain

pytestmark = pytest.mark.usefixtures("weights")

PARTS = {
    "Model": ("model", ["model", 0]),
    "VAE": ("vae", ["model", 2]),
    "Discriminator": ("discriminator", ["discriminator", 0]),
}
PHASES = [("Model", "load"), *((part, phase) for part in PARTS for phase in ("forward", "backward"))]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    base = write_base(tmp_path_factory.mktemp("faults"))
    with served(base) as server:
        server.base = base
        yield server


@pytest.fixture(scope="module")
def expected(faulty):
    return digest(drawn(faulty, portrait())), run_plain(faulty)


def faulty_portrait(part: str, phase: str, gradient: str, after: int) -> dict:
    """Whose memory does not last."""
    prompt = portrait()
    prompt["settings"] = settings(gradient=gradient)
    name, source = PARTS[part]
    prompt["faulty"] = node(f"TestFaulty{part}", **{name: source}, phase=phase, after=after)
    prompt["identity" if part == "Discriminator" else SAMPLER]["inputs"][name] = ["faulty", 0]
    return prompt


@pytest.mark.parametrize(("part", "phase"), PHASES)
def test_out_of_memory_is_said_and_leaves_the_server_as_it_was(faulty, expected, part, phase):
    """At the first call, so that no smaller way is left either, and by the third in its course."""
    for gradient, after in (("auto", 0), ("exact", 0), ("exact", 3)):
        if phase == "backward" and part == "Model" and gradient == "auto":
            continue  # which runs no backward of the model
        try:
            drawn(faulty, faulty_portrait(part, phase, gradient, after))
        except ServerError as error:
            assert "too little memory" in str(error)
        else:
            assert after or phase == "backward", "it was drawn although its memory did not last"
    assert digest(drawn(faulty, portrait())) == expected[0]
    plain, models = run_plain(faulty)
    assert plain == expected[1][0] and models <= expected[1][1] + 1


@pytest.mark.parametrize("socket", ["vae", "model", "guidance"])
def test_models_that_another_node_sent_away_come_back(faulty, expected, socket):
    prompt = portrait()
    prompt["away"] = node("TestUnload", value=prompt[SAMPLER]["inputs"][socket])
    prompt[SAMPLER]["inputs"][socket] = ["away", 0]
    assert digest(drawn(faulty, prompt)) == expected[0]


@contextmanager
def mounted(*options: str, folder: Path) -> Iterator[None]:
    """What an administrator can do; skipped for others."""
    if subprocess.run(["mount", *options, str(folder)], capture_output=True).returncode:
        pytest.skip("mounting takes an administrator")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.name != "posix", reason="mount")
def test_a_disk_that_is_full_or_read_only_is_said(faulty):
    """The core's tests do the same to files, without an administrator."""
    folder = faulty.base / "models" / "identities"
    folder.mkdir(exist_ok=True)
    saving = portrait()
    saving["saved"] = node("SaveIdentity", identity=["identity", 0], filename_prefix="full")
    with mounted("-t", "tmpfs", "-o", "size=80k", "none", folder=folder):
        outcomes = []
        for seed in range(8):
            saving["reference"]["inputs"]["identity"] = 5_000_001 + seed
            try:
                faulty.run(saving)
                outcomes.append("saved")
            except ServerError as error:
                assert "cannot be written" in str(error) and "Make room" in str(error)
                outcomes.append("full")
        assert {"saved", "full"} == set(outcomes)
        files = list(folder.iterdir())
        assert len(files) == outcomes.count("saved") and all(file.suffix == ".safetensors" for file in files)
        before = {file.name: file.read_bytes() for file in files}
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(ServerError, match="cannot be written"):
            faulty.run(saving | {"saved": node("SaveIdentity", identity=["identity", 0], filename_prefix="other")})
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def other_base(folder: Path, *packs: str) -> Path:
    """A base directory with copies of the pack under these names."""
    base = write_base(folder)
    (base / "custom_nodes" / "rectifid").unlink()
    for name in packs:
        write_pack_copy(base / "custom_nodes" / name)
    return base


def test_the_pack_in_an_odd_folder_without_a_home(tmp_path, expected):
    base = other_base(tmp_path / "Zeichnungen für Zoë.v1", "RectifID (2) ä.ö-v1.0 中文")
    with served(base, HOME=str(tmp_path / "nowhere"), USERPROFILE=None, HF_HOME=None, XDG_CACHE_HOME=None) as server:
        assert digest(drawn(server, portrait())) == expected[0]


def test_the_pack_twice_and_read_only(tmp_path, expected):
    base = other_base(tmp_path / "base", "rectifid", "rectifid copy")
    files = sorted((base / "custom_nodes").rglob("*"), reverse=True)
    for file in files:
        file.chmod(0o555 if file.is_dir() else 0o444)
    try:
        with served(base) as server:
            assert digest(drawn(server, portrait())) == expected[0]
    finally:
        for file in files:
            file.chmod(0o755)


def test_two_servers_save_side_by_side(faulty, tmp_path):
    base = write_base(tmp_path / "base")
    shutil.rmtree(base / "models")
    (base / "models").symlink_to(faulty.base / "models", target_is_directory=True)
    folder = faulty.base / "models" / "identities" / "both"

    def save(server):
        for seed in range(6):
            prompt = portrait()
            prompt["reference"]["inputs"]["identity"] = 5_000_001 + seed
            prompt["saved"] = node("SaveIdentity", identity=["identity", 0], filename_prefix="both/same")
            server.run(prompt)

    with served(base) as other, ThreadPoolExecutor(2) as pool:
        list(pool.map(save, (faulty, other)))
    assert sorted(file.name for file in folder.iterdir()) == [f"same_{n:05}_.safetensors" for n in range(1, 13)]
