"""A digest is that of the files' content, however large they are and wherever they lie."""

import hashlib

from rectifid_core.networks import digest
from rectifid_core.networks.digest import file_digest


def test_it_is_the_sha_256_of_the_content(tmp_path, monkeypatch):
    monkeypatch.setattr(digest, "_BLOCK", 4)
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"more than one block")
    second.write_bytes(b"")
    assert file_digest(first) == hashlib.sha256(b"more than one block").hexdigest()
    assert file_digest(first, second) == file_digest(first)
    assert file_digest(second, first, first) == hashlib.sha256(2 * b"more than one block").hexdigest()
