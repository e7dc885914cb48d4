"""The set-up: a host from its source, and the bar, pip's own words in and lines for a terminal out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import environment
from scripts.packages import BAR, RAW_PROGRESS, bars, version

SAID = """\
Collecting torch==2.14.1
  Downloading https://host/some/torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (531 MB)
Progress 0 of 531000000
Progress 1000 of 531000000
Progress 265500000 of 531000000
Progress 531000000 of 531000000
  Downloading https://host/empty.whl
Progress 0 of 0
Installing collected packages: torch
"""


def test_each_change_that_can_be_seen_is_a_line():
    lines = list(bars(SAID.splitlines()))
    assert [line.count("=") for line in lines] == [0, BAR // 2, BAR]
    assert all("531 MB" in line and "torch-2.14.1" in line for line in lines)
    assert len({len(line) for line in lines}) == 1, "a shorter line leaves the rest of a longer one behind"


def test_it_reads_the_version_of_pip():
    assert version(Path(sys.executable)) > (9, 0) and RAW_PROGRESS > (24, 0)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder of a ComfyUI that requires nothing; nor do we, so that nothing is downloaded."""
    for name in ("TORCH", "TORCHAUDIO", "HOST_EXTRAS"):
        monkeypatch.setattr(environment, name, ["pip"])
    for name in ("PACK_REQUIREMENTS", "TEST_REQUIREMENTS"):
        (tmp_path / name).write_text("")
        monkeypatch.setattr(environment, name, tmp_path / name)
    monkeypatch.setattr(environment, "PIP", "pip")
    monkeypatch.setattr(environment, "HOSTS", tmp_path / "hosts")
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    (folder / "main.py").write_text("")
    (folder / "requirements.txt").write_text("")
    (folder / "comfyui_version.py").write_text('# generated\n__version__ = "0.27.1"\n')
    return folder


def test_a_host_from_its_source_gets_an_environment_of_its_own(source, tmp_path, capsys):
    before = sorted(source.iterdir())
    host = environment.source_host(source)
    assert host.path == source and sorted(source.iterdir()) == before
    prefix = subprocess.run([host.python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True)
    assert Path(prefix.stdout.strip()) == tmp_path / "hosts" / "0.27.1"
    assert capsys.readouterr().out.count("done in") == 2
    environment.source_host(source)
    assert "done in" not in capsys.readouterr().out, "what is set up is not set up again"
    (source / "requirements.txt").write_text("pip\n")
    environment.source_host(source)
    assert capsys.readouterr().out.count("done in") == 1, "other requirements are installed"


def test_a_folder_without_comfyui_is_refused_as_a_host(tmp_path):
    command = [sys.executable, "run.py", "test", "--host", str(tmp_path)]
    said = subprocess.run(command, cwd=environment.ROOT, capture_output=True, text=True)
    assert said.returncode == 1
    assert f"--host is {tmp_path}" in said.stderr and "main.py" in said.stderr and "Traceback" not in said.stderr
