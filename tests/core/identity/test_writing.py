"""How identity files are written and read beside others who do the same, on full disks and odd drives."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rectifid_core.identity import files
from rectifid_core.identity.files import IdentityExistsError, IdentityFileError, load_identity, save_identity
from tests.helpers.identities import discriminator, identity

posix = pytest.mark.skipif(os.name != "posix", reason="modes, limits and signals of POSIX")


@posix
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_the_files_mode_is_the_users(tmp_path, mask):
    before = os.umask(mask)
    try:
        save_identity(identity(), tmp_path / "me.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "me.safetensors").stat().st_mode) == 0o666 & ~mask


@posix
def test_a_full_disk_is_said_and_leaves_all_as_it_was(tmp_path):
    """A limit on the size of files fails a write as a full disk does, in the middle of it."""
    import resource

    save_identity(identity(), tmp_path / "old.safetensors")
    old = (tmp_path / "old.safetensors").read_bytes()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(IdentityFileError, match="new.safetensors cannot be written .*Make room") as refused:
            save_identity(identity(), tmp_path / "new.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not isinstance(refused.value, IdentityExistsError)
    assert [path.name for path in tmp_path.iterdir()] == ["old.safetensors"]
    assert (tmp_path / "old.safetensors").read_bytes() == old


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(IdentityFileError, match="cannot be written to .*nowhere"):
        save_identity(identity(), tmp_path / "nowhere" / "me.safetensors")


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "none"])
def test_of_many_who_want_a_name_at_once_one_gets_it(tmp_path, monkeypatch, links):
    def no_links(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(files.os, "link", no_links)
    path, mine = tmp_path / "me.safetensors", identity()

    def save(number):
        try:
            save_identity(replace(mine, weights=torch.tensor([number + 1.0, 0.0, 0.0])), path)
        except IdentityExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        (winner,) = (number for number in pool.map(save, range(16)) if number is not None)
    assert load_identity(path, discriminator()).weights[0] == winner + 1
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_a_file_that_is_cut_while_it_is_read_is_refused_and_kills_nobody(tmp_path):
    """A map of it would: the process gets SIGBUS for the pages that are gone."""
    script = """
        import sys
        from pathlib import Path

        import safetensors, torch
        from rectifid_core.identity.files import IdentityFileError, load_identity, save_identity
        from tests.helpers.identities import discriminator, identity
        from dataclasses import replace

        path = Path(sys.argv[1])
        crops = torch.rand(3, 3, 8, 8).repeat_interleave(4000, dim=0)  # many pages
        embeddings = identity().embeddings.repeat(4000, 1)
        mine = replace(identity(), crops=crops, embeddings=embeddings, weights=torch.ones(12000))
        save_identity(mine, path)

        def cut(frame, event, argument):  # as soon as the file is open, by Python or by the library
            if event == "c_return" and getattr(argument, "__name__", "") in ("open", "__enter__", "keys"):
                with open(path, "r+b") as file:
                    file.truncate(100)
                sys.setprofile(None)

        sys.setprofile(cut)
        try:
            load_identity(path, discriminator())
            print("loaded")
        except IdentityFileError as error:
            print("refused")
    """
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "me.safetensors")],
        cwd=root,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=180,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    assert done.stdout.strip() in ("refused", "loaded")


def test_a_file_of_another_size_class_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", 1 << 10)
    (tmp_path / "model.safetensors").write_bytes(bytes(1 << 11))
    with pytest.raises(IdentityFileError, match="no identity has"):
        load_identity(tmp_path / "model.safetensors", discriminator())
