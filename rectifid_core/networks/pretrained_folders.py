"""Where folders in the Hugging Face layout lie: below roots of the user's, and in the cache of Hugging Face's tools."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

CONFIG = "config.json"


def find_folders(roots: Iterable[Path], model_types: Collection[str]) -> dict[str, Path]:
    """The folders below ``roots`` with such a network, by name: "dinov2-base" or "facebook/dinov2-base"."""
    found: dict[str, Path] = {}
    for root in roots:
        for config in sorted([*root.glob(f"*/{CONFIG}"), *root.glob(f"*/*/{CONFIG}")]):
            if model_type(config.parent) in model_types:
                found.setdefault(config.parent.relative_to(root).as_posix(), config.parent)
    return found


def find_cached(cache: Path, model_types: Collection[str]) -> dict[str, Path]:
    """The same in the local cache of Hugging Face's tools: of each repository the snapshot that ``main`` names.

    Where it was only ever fetched by other revisions, the newest snapshot.
    """
    found = {}
    for repository in sorted(cache.glob("models--*")):
        name = _name_of_repository(repository)
        snapshot = _snapshot(cache, repository, name)
        if snapshot is not None and model_type(snapshot) in model_types:
            found[name] = snapshot
    return found


def _snapshot(cache: Path, repository: Path, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, CONFIG, cache_dir=cache)
    except HFValidationError:  # a folder that no repository can have made
        return None
    if isinstance(config, str):
        return Path(config).parent
    if (repository / "refs" / "main").is_file():
        return None
    return max(repository.glob("snapshots/*"), key=lambda path: path.stat().st_mtime_ns, default=None)


def _name_of_repository(folder: Path) -> str:
    return folder.name.removeprefix("models--").replace("--", "/")


def name_of(folder: Path) -> str:
    """What people call the network: the folder's name, or that of the repository of which it is a cached snapshot."""
    in_cache = folder.parent.name == "snapshots"
    return _name_of_repository(folder.parents[1]).split("/")[-1] if in_cache else folder.name


def model_type(folder: Path) -> str | None:
    """The kind of network, such as "dinov2", in the words of its config.json; None where there is no readable one."""
    kind = (read_json(folder / CONFIG) or {}).get("model_type")
    return kind if isinstance(kind, str) else None


def read_json(path: Path) -> dict[str, Any] | None:
    """None where there is no file, or one that is no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
