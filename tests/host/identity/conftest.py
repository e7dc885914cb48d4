"""What the tests of the identity nodes share.  The host is imported in fixtures, since there may be none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


@pytest.fixture
def encode(run, job):
    return lambda images, **inputs: run(
        "EncodeReferenceIdentity", discriminator=job.discriminator, images=images, **inputs
    )


@pytest.fixture
def identities(tmp_path, monkeypatch):
    """The folder of saved identities, empty."""
    import folder_paths

    folder = tmp_path / "identities"
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "identities", ([str(folder)], set()))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return folder


@pytest.fixture
def shown(monkeypatch):
    """What the nodes write on themselves."""
    import server

    texts = []
    instance = SimpleNamespace(
        send_progress_text=lambda text, node_id: texts.append((text, node_id)),
        send_sync=lambda *_: None,
        client_id=None,
    )
    monkeypatch.setattr(server.PromptServer, "instance", instance, raising=False)
    return texts
