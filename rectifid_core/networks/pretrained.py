"""Pretrained networks as folders in the Hugging Face layout: config.json, model.safetensors, preprocessor_config.json.

All is read from disk: nothing is downloaded, and neither pickles nor code that a folder may hold are ever run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import nn

from .digest import file_digest

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # torch.save's zip archive, and the bare pickle of old


class PretrainedError(ValueError):
    """The folder cannot serve as a network; the message says why and what to do."""


def find_folders(roots: Iterable[Path], model_types: Collection[str]) -> dict[str, Path]:
    """The folders below ``roots`` with such a network, by name: "dinov2-base" or "facebook/dinov2-base"."""
    found: dict[str, Path] = {}
    for root in roots:
        for config in sorted([*root.glob(f"*/{CONFIG}"), *root.glob(f"*/*/{CONFIG}")]):
            if model_type(config.parent) in model_types:
                found.setdefault(config.parent.relative_to(root).as_posix(), config.parent)
    return found


def find_cached(cache: Path, model_types: Collection[str]) -> dict[str, Path]:
    """The same in the local cache of Hugging Face's own tools: the newest snapshot of each repository."""
    found: dict[str, Path] = {}
    for snapshot in sorted(cache.glob("models--*/snapshots/*"), key=lambda path: path.stat().st_mtime):
        if model_type(snapshot) in model_types:
            found[_repository(snapshot)] = snapshot
    return dict(sorted(found.items()))


def _repository(snapshot: Path) -> str:
    return snapshot.parents[1].name.removeprefix("models--").replace("--", "/")


def name_of(folder: Path) -> str:
    """What people call the network: the folder's name, or that of the repository of which it is a cached snapshot."""
    in_cache = folder.parent.name == "snapshots"
    return _repository(folder).split("/")[-1] if in_cache else folder.name


def model_type(folder: Path) -> str | None:
    """The kind of network, such as "dinov2", in the words of its config.json; None where there is no readable one."""
    kind = _read_json(folder / CONFIG).get("model_type")
    return kind if isinstance(kind, str) else None


def open_network(
    folder: Path, classes: Mapping[str, str], example: str, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """The network of a folder: frozen, in eval mode, its parameters of type ``dtype``.

    classes: for each kind of network that will do, the name of its class in transformers.
    example: for messages, where such a network comes from.

    Raises PretrainedError for a folder without weights in safetensors, with damaged weights, with weights that do not
    belong to its config.json, or of another kind.
    """
    kind = model_type(folder)
    if kind is None:
        raise PretrainedError(f"{folder} has no readable {CONFIG}; it needs all files of its repository, {example}")
    if kind not in classes:
        raise PretrainedError(
            f"{folder} holds a network of the kind {kind}; needed is {' or '.join(classes)}, {example}"
        )
    network_class = getattr(transformers, classes[kind], None)
    if network_class is None:
        raise PretrainedError(
            f"{folder} needs a newer transformers than {transformers.__version__}, which does not know {kind} yet: "
            "pip install --upgrade transformers"
        )
    for file in weight_files(folder, example):
        _check(file)
    try:
        network, loading = network_class.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            # Said here, since a config.json may name code to be downloaded for it.
            attn_implementation="sdpa" if network_class._supports_sdpa else "eager",
        )
    except RuntimeError as error:  # weights of other shapes
        raise _misfit(folder) from error
    if loading["missing_keys"]:
        raise _misfit(folder)
    network.float()  # a folder may hold half precision, which is too coarse for its buffers:
    for parameter in network.parameters():  # places in the picture are computed from them
        parameter.data = parameter.data.to(dtype)
    return network.eval().requires_grad_(False)


def _misfit(folder: Path) -> PretrainedError:
    return PretrainedError(
        f"the weights in {folder} do not belong to its {CONFIG}; download all files of one repository again"
    )


def weight_files(folder: Path, example: str = "the one that config.json is from") -> list[Path]:
    """The safetensors files of the weights, in the order of their names; PretrainedError where there are none."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    names = _read_json(folder / INDEX).get("weight_map", {}).values()
    for name in names:
        if Path(name).name != name:
            raise PretrainedError(f"{folder / INDEX} reads weights from outside of its own folder ({name}); delete it")
    files = [folder / name for name in sorted(set(names))]
    missing = ", ".join(file.name for file in files if not file.is_file())
    if missing:
        raise PretrainedError(f"{folder} lacks {missing}, named in its {INDEX}; download what is missing")
    if files:
        return files
    pickles = ", ".join(sorted(file.name for pattern in PICKLES for file in folder.glob(pattern)))
    if pickles:
        raise PretrainedError(
            f"{folder} holds its weights only as {pickles}, a kind of file that can run any program when opened, and "
            f"is left alone; get the {WEIGHTS} of the same repository, {example}"
        )
    raise PretrainedError(f"{folder} has no weights; get the {WEIGHTS} of its repository, {example}")


def digest(folder: Path) -> str:
    """The SHA-256 of the weights: that of the file, or of all its shards one after the other."""
    return file_digest(*weight_files(folder))


def _check(file: Path) -> None:
    try:
        with safe_open(file, "pt"):
            return
    except SafetensorError as error:
        with file.open("rb") as opened:
            if opened.read(4).startswith(PICKLE_STARTS):
                raise PretrainedError(
                    f"{file} is no safetensors file but a pickle under another name, which could run any program when "
                    "opened; delete it and get the real one"
                ) from error
        raise PretrainedError(f"{file} is not a safetensors file, or only a part of one; download it again") from error


@dataclass(frozen=True)
class Preprocessing:
    """What a network wants of its pictures: their side in pixels, and (x - mean) / std of x in [0, 1]."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_preprocessing(folder: Path, default: Preprocessing) -> Preprocessing:
    """As preprocessor_config.json has it; what that leaves out is as in ``default``."""
    settings = _read_json(folder / "preprocessor_config.json")
    sides = settings.get("crop_size") or settings.get("size") or default.size
    if isinstance(sides, dict):
        sides = sides.get("height") or sides.get("shortest_edge") or default.size
    return Preprocessing(
        int(sides),
        tuple(settings.get("image_mean") or default.mean),
        tuple(settings.get("image_std") or default.std),
    )


def _read_json(path: Path) -> dict[str, Any]:
    """Empty where there is no file, or one that is no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
