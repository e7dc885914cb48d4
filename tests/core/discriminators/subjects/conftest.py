"""Folders of small subject models, as users have them."""

from __future__ import annotations

import pytest

from rectifid_core.discriminators.subjects.discriminator import load_subject_discriminator
from tests.helpers import subject_folders
from tests.helpers.subject_folders import KNOWN


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A models folder with each kind of network, by the name of the kind; and the networks as they were saved."""
    root = tmp_path_factory.mktemp("transformers")
    written = {kind: subject_folders.write_embedder(root / kind, kind) for kind in KNOWN}
    written |= {kind: subject_folders.write_detector(root / kind, kind) for kind in subject_folders.DETECTORS}
    return root, written


@pytest.fixture
def load(folders):
    def load(embedder="dinov2", detector=None, **settings):
        root, _ = folders
        return load_subject_discriminator(root / embedder, detector and root / detector, **settings)

    return load


@pytest.fixture
def folder(tmp_path):
    """A folder of the test's own, to be damaged."""
    subject_folders.write_embedder(tmp_path / "dino")
    return tmp_path / "dino"
