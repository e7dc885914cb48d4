"""Where users have networks in the Hugging Face layout: models/transformers, and the cache of its own tools."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import folder_paths
from huggingface_hub import constants

from ..rectifid_core.networks.pretrained import PretrainedError
from ..rectifid_core.networks.pretrained_folders import find_cached, find_folders

FOLDER = "transformers"
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


def folders(classes: Mapping[str, str]) -> dict[str, Path]:
    """All there are of these kinds, by name; those in the models folder first."""
    own = find_folders(_roots(), classes)
    cached = find_cached(Path(constants.HF_HUB_CACHE), classes)
    return own | {name: folder for name, folder in cached.items() if name not in own}


def names(classes: Mapping[str, str], what: str) -> list[str]:
    """For a combo; where there is no ``what``, it says so."""
    return list(folders(classes)) or [_none(what)]


def folder_of(name: str, classes: Mapping[str, str], what: str, example: str) -> Path:
    """By its name, or else by the last part of it, since not everybody keeps the author's name."""
    found = folders(classes)
    by_last_part = {known.split("/")[-1]: folder for known, folder in reversed(found.items())}
    folder = found.get(name) or by_last_part.get(name.split("/")[-1])
    if folder is None:
        raise PretrainedError(
            f"There is no {what if name == _none(what) else f'{what} {name}'} in {' or '.join(map(str, _roots()))} or "
            f"in Hugging Face's cache, {constants.HF_HUB_CACHE}. Put a folder there with all files of a repository "
            f"(config.json, model.safetensors and the small ones), {example}. Then reload the list (press R)."
        )
    return folder


def files_of(*chosen: Path) -> list:
    """What changes when a file of these folders does."""
    return [[str(file), file.stat().st_mtime] for folder in chosen for file in sorted(folder.iterdir())]


def _none(what: str) -> str:
    return f"no {what} found"


def _roots() -> list[Path]:
    return [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
