"""Pretrained networks as folders in the Hugging Face layout: config.json, model.safetensors, preprocessor_config.json.

All is read from disk: nothing is downloaded, and neither pickles nor code that a folder may hold are ever run.
Transformers gets the configuration and the weights as objects, and never the folder, in which it would look for more:
adapters, other weights that config.json names, code.  Weights are read, and not mapped: a file that is replaced while
its network is in use would end the process.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from ..packages import importing
from .pretrained_bounds import larger_than_weights
from .pretrained_folders import CONFIG, model_type, read_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
PREPROCESSING = "preprocessor_config.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # torch.save's zip archive, and the bare pickle of old
LARGEST = 4096  # pixels to a side that a network may want


class PretrainedError(ValueError):
    """The folder cannot serve as a network; the message says why and what to do."""


@dataclass(frozen=True)
class Pretrained:
    """network: frozen, in eval mode; digest: the SHA-256 of its weights, of all files one after the other."""

    network: nn.Module
    digest: str


def open_network(
    folder: Path, classes: Mapping[str, str], example: str, dtype: torch.dtype = torch.float32
) -> Pretrained:
    """The network of a folder, its parameters of type ``dtype``, on the CPU.

    classes: for each kind of network that will do, the name of its class in transformers.
    example: for messages, where such a network comes from.

    Raises PretrainedError for a folder without weights in safetensors, with damaged weights, with weights that do not
    belong to its config.json, of another kind, or with an adapter; ImportError without transformers.
    """
    network_class = _class_of(folder, classes, example)
    settings = read_json(folder / CONFIG) or {}
    _refuse_variants(folder, settings)
    state, digest = _read_weights(folder, example)
    if (what := larger_than_weights(network_class, settings, state)) is not None:
        raise _misfit(folder, f" ({what})")
    try:
        network, loading = network_class.from_pretrained(
            None,
            config=network_class.config_class.from_dict(settings),
            state_dict=state,
            output_loading_info=True,
            torch_dtype=torch.float32,  # at first: places in the picture are computed from buffers
            # Said here, since a config.json may name code to be downloaded for it.
            attn_implementation="sdpa" if network_class._supports_sdpa else "eager",
        )
    except Exception as error:  # what transformers raises for a wrong configuration has no class in common
        raise _misfit(folder, f" ({type(error).__name__}: {str(error).strip().splitlines()[0][:200]})") from error
    if loading["missing_keys"] or loading.get("mismatched_keys"):
        raise _misfit(folder)
    for parameter in network.parameters():
        if parameter.isnan().any():
            raise PretrainedError(f"the weights in {folder} have nan among them; download them again")
        parameter.data = parameter.data.to(dtype)
    return Pretrained(network.eval().requires_grad_(False), digest)


def _class_of(folder: Path, classes: Mapping[str, str], example: str) -> Any:
    kind = model_type(folder)
    if kind is None:
        raise PretrainedError(f"{folder} has no readable {CONFIG}; it needs all files of its repository, {example}")
    if kind not in classes:
        raise PretrainedError(
            f"{folder} holds a network of the kind {kind}; needed is {' or '.join(classes)}, {example}"
        )
    with importing("transformers>=4.50", "networks of Hugging Face"):
        import transformers

        network_class = getattr(transformers, classes[kind], None)
    if network_class is None:
        raise PretrainedError(
            f"{folder} needs a newer transformers than {transformers.__version__}, which does not know {kind} yet: "
            "pip install --upgrade transformers"
        )
    return network_class


def _refuse_variants(folder: Path, settings: dict[str, Any]) -> None:
    """Raises PretrainedError for what would be another network than the weights say."""
    if (folder / ADAPTER).exists():
        raise PretrainedError(
            f"{folder} holds an adapter for PEFT ({ADAPTER}), which is not applied here; merge it into the weights, or "
            "take it out of the folder to use the network without it"
        )
    if settings.get("quantization_config"):
        raise PretrainedError(
            f"{folder} holds quantised weights, which are not supported; get those of the original repository"
        )


def _misfit(folder: Path, reason: str = "") -> PretrainedError:
    return PretrainedError(
        f"the weights in {folder} do not belong to its {CONFIG}; download all files of one repository again{reason}"
    )


def weight_files(folder: Path, example: str = "the one that config.json is from") -> list[Path]:
    """The safetensors files of the weights, in the order of their names; PretrainedError where there are none."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    names = _names_in_index(folder / INDEX)
    for name in names:
        if Path(name).name != name:
            raise PretrainedError(f"{folder / INDEX} reads weights from outside of its own folder ({name}); delete it")
    files = [folder / name for name in names]
    missing = ", ".join(file.name for file in files if not os.path.isfile(file))  # of a name of any length
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


def _names_in_index(index: Path) -> list[str]:
    if not index.is_file():
        return []
    places = (read_json(index) or {}).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise PretrainedError(f"{index} does not say in which files the weights are; download it again")
    return sorted(set(places.values()))


def _read_weights(folder: Path, example: str) -> tuple[dict[str, Tensor], str]:
    """The weights by name, and their digest, of the same bytes."""
    state: dict[str, Tensor] = {}
    sha = hashlib.sha256()
    for file in weight_files(folder, example):
        content = file.read_bytes()
        sha.update(content)
        try:
            state |= load(content)
        except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
            if content.startswith(PICKLE_STARTS):
                raise PretrainedError(
                    f"{file} is no safetensors file but a pickle under another name, which could run any program when "
                    "opened; delete it and get the real one"
                ) from error
            raise PretrainedError(
                f"{file} is not a safetensors file, or only a part of one; download it again"
            ) from error
    return state, sha.hexdigest()


@dataclass(frozen=True)
class Preprocessing:
    """What a network wants of its pictures: their side in pixels, and (x - mean) / std of x in [0, 1]."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_preprocessing(folder: Path, default: Preprocessing) -> Preprocessing:
    """As preprocessor_config.json has it; what that leaves out is as in ``default``.  PretrainedError for junk."""
    file = folder / PREPROCESSING
    settings = read_json(file) if file.exists() else {}
    if settings is None:
        raise PretrainedError(f"{file} is no JSON object, or only a part of one; download it again")
    size = settings.get("crop_size") or settings.get("size") or default.size
    mean, std = settings.get("image_mean") or default.mean, settings.get("image_std") or default.std
    if isinstance(size, dict):
        height = size.get("height") or size.get("shortest_edge") or default.size
        size = height if size.get("width") in (None, height) else size
    if not isinstance(size, int) or not 1 <= size <= LARGEST:
        raise PretrainedError(
            f"{file} wants pictures of the size {size!r}; needed is a square of 1 to {LARGEST} pixels"
        )
    for name, values in (("image_mean", mean), ("image_std", std)):
        if not _three_numbers(values) or (name == "image_std" and min(values) <= 0):
            raise PretrainedError(
                f"{file} has {values!r} for its {name}; needed are three numbers, for red, green, blue"
            )
    return Preprocessing(size, tuple(map(float, mean)), tuple(map(float, std)))


def _three_numbers(values: Any) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) == 3
        and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    )
