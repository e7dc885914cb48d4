"""Names that combos offer, and the files or folders that they stand for.

A name is only ever looked up among what is there, and never joined to a path: so nothing outside of the models' folders
can be named, on no platform, by no '..', drive, device or trailing dot.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import folder_paths
from huggingface_hub import constants

from ..rectifid_core.networks.pretrained_folders import find_cached, find_folders

FOLDER = "transformers"
_NAMED = 10  # of what is there, in a message
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


class NotThereError(FileNotFoundError, ValueError):
    """What a combo names is not in its folders (any more); the message says where it should be, and what to do."""


@dataclass(frozen=True)
class Choice:
    """What a combo offers.

    what: one of it, for messages: "embedder".
    find: all there is now, by name.
    where: the folders, in words; advice: what to put there, and where that comes from.
    with_authors: whether names may have an author's name before them, "facebook/dinov2-base", that not everybody keeps.
    """

    what: str
    find: Callable[[], Mapping[str, Path]]
    where: Callable[[], str]
    advice: str
    with_authors: bool = False

    def names(self) -> list[str]:
        """For the combo; where there is nothing, it says so."""
        return list(self.find()) or [self._none]

    def path(self, name: object) -> Path:
        """What is there by that name; raises NotThereError."""
        found = self.find()
        if name == self._none and len(found) == 1:  # it came after the combo was made
            return next(iter(found.values()))
        if isinstance(name, str) and (path := self._look_up(name, found)) is not None:
            return path
        if not isinstance(name, str):
            name = f"(a {type(name).__name__}, and no name)"  # from another node
        shown = "" if name == self._none else f" {name}" if name.isprintable() else f" {name!r}"
        missing = f"There is no {self.what}{shown[:200]} in {self.where()}."
        if found:
            listed = ", ".join(list(found)[:_NAMED]) + (" ..." if len(found) > _NAMED else "")
            missing += f" Choose one of {listed}; if the list of the node lacks it, press R. Or get another:"
        raise NotThereError(f"{missing} {self.advice} Then reload the list (press R).")

    def _look_up(self, name: str, found: Mapping[str, Path]) -> Path | None:
        name = name.replace("\\", "/")  # of a workflow from another system
        by_name = {known.replace("\\", "/"): path for known, path in found.items()}
        if name in by_name or not self.with_authors:
            return by_name.get(name)
        author, _, last = name.rpartition("/")
        if author and not re.fullmatch(r"\w[\w.-]*", author):
            return None
        return {known.split("/")[-1]: path for known, path in reversed(by_name.items())}.get(last)

    @property
    def _none(self) -> str:
        return f"no {self.what} found"


def pretrained(what: str, classes: Mapping[str, str], example: str) -> Choice:
    """Folders in the Hugging Face layout with networks of these kinds; those in the models folder first."""

    def find() -> dict[str, Path]:
        own = find_folders(_roots(), classes)
        cached = find_cached(Path(constants.HF_HUB_CACHE), classes)
        return own | {name: folder for name, folder in cached.items() if name not in own}

    def where() -> str:
        return f"{' or '.join(map(str, _roots()))} or in Hugging Face's cache, {constants.HF_HUB_CACHE}"

    return Choice(
        what,
        find,
        where,
        "Put a folder there with all files of a repository (config.json, model.safetensors and the small ones), "
        f"{example}.",
        with_authors=True,
    )


def files_of(folder: str, ending: str) -> dict[str, Path]:
    """The files of a models folder and the folders in it, by their names as the host gives them."""
    found: dict[str, Path] = {}
    for root in folder_paths.get_folder_paths(folder):
        for name in sorted(folder_paths.recursive_search(root, [".git"])[0]):
            if name.lower().endswith(ending) and os.path.isfile(os.path.join(root, name)):
                found.setdefault(name, Path(root, name))
    return found


def state_of(*paths: Path) -> list:
    """What changes when a file does, or one in these folders, or where a link to it leads; to compare, and to keep."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return [[str(file), os.path.realpath(file), *_numbers(file)] for file in files]


def _numbers(file: Path) -> list[int]:
    try:
        status = file.stat()
    except OSError:  # a link to nowhere
        return []
    # a file's time can be set back to what it was; that of its entry cannot
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _roots() -> list[Path]:
    return [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
