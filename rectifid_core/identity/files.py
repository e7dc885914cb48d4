"""Identities as files: safetensors, so that a file is data and none of it is executed."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..discriminators.base import Discriminator
from .identity import MATCHINGS, Identity, Recogniser

FORMAT, VERSION = "rectifid-identity", 3  # 2 had no colours; 1 did not say how the pictures were prepared
LARGEST = 1 << 30  # bytes; 300 references are about 12 million
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # torch.save writes the first


class IdentityFileError(ValueError):
    """The file cannot serve as an identity; the message says why and what to do."""


class IdentityExistsError(IdentityFileError):
    """There is a file of that name already."""


def save_identity(identity: Identity, path: str | Path) -> None:
    """Writes all of ``identity`` but the images that it was encoded from; the crops are rounded to 8 bits.

    The file appears complete or not at all.  Raises IdentityExistsError where ``path`` exists, and IdentityFileError
    for an identity with numbers that are not finite, or where the file cannot be written.
    """
    path = Path(path)
    tensors = {"embeddings": identity.embeddings, "weights": identity.weights, "crops": identity.crops}
    tensors["colors"] = identity.colors
    if identity.query is not None:
        tensors["query"] = identity.query
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise IdentityFileError(
                f"the {name} of this identity, by {identity.recogniser.name}, have numbers that are nan or infinite, "
                "by which nobody can be recognised; encode the reference images again"
            )
    tensors["crops"] = (identity.crops * 255).round().clamp(0, 255).byte()
    references, width = identity.embeddings.shape
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "discriminator": identity.recogniser.name,
        "digest": identity.recogniser.digest,
        "preprocessing": identity.recogniser.preprocessing,
        "matching": identity.matching,
        # for people; the tensors say the same
        "references": str(references),
        "embedding_width": str(width),
        "crop_size": str(identity.crops.shape[-1]),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    _write(save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, metadata), path)


def _write(content: bytes, path: Path) -> None:
    part = path.with_name(f".{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _take_name(part, path)
    except FileExistsError as error:
        raise IdentityExistsError(f"{path} exists already, and is kept; choose another name") from error
    except OSError as error:
        raise IdentityFileError(
            f"{path.name} cannot be written to {path.parent}: {error.strerror or error}. Make room there, or choose "
            "another name"
        ) from error
    finally:
        with suppress(OSError):  # where nothing can be written, nothing was, and asking to delete it fails, too
            part.unlink(missing_ok=True)


def _take_name(part: Path, path: Path) -> None:
    """Gives ``part`` the name ``path``; FileExistsError for all but one of those who want it at once."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # not every drive has hard links
        path.touch(exist_ok=False)
        try:
            os.replace(part, path)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def load_identity(path: str | Path, discriminator: Discriminator) -> Identity:
    """The identity of a file, on the CPU and without the images that it was encoded from.

    Raises IdentityFileError for a file that is no identity, is damaged, or was encoded by another discriminator than
    ``discriminator`` or with another preparation of the pictures, and FileNotFoundError where there is none.
    """
    path = Path(path)
    metadata, tensors = _read(path)
    if metadata.get("format") != FORMAT:
        raise IdentityFileError(
            f"{path.name} is a safetensors file, but no identity; choose one that was saved as such"
        )
    if (version := str(metadata.get("version"))) != str(VERSION):
        older = version.isdecimal() and int(version) < VERSION
        raise IdentityFileError(
            f"{path.name} has version {version} of the identity format and this pack reads version {VERSION}; "
            f"{'' if older else 'update the pack, or '}encode the reference images again"
        )
    _compare(path, metadata, discriminator)
    _check(path, metadata, tensors, discriminator)
    return Identity(
        Recogniser.of(discriminator),
        tensors["embeddings"],
        tensors["crops"].float() / 255,
        tensors["colors"],
        tensors["weights"],
        metadata["matching"],
        tensors.get("query"),
    )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The bytes themselves, not a map of them: a file may be written anew while it is read."""
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise IdentityFileError(
            f"{path.name} has more than {LARGEST >> 20} MiB, which no identity has; choose another file"
        )
    try:
        tensors = load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a type of numbers that torch does not have
        if content[:2] in _PICKLES:
            raise IdentityFileError(
                f"{path.name} is a pickle by another name, which can run code when it is opened; it was not. Do not "
                "trust where it came from, and encode the reference images again"
            ) from error
        raise IdentityFileError(
            f"{path.name} is no safetensors file, or only a part of one; copy it again, or encode the reference images "
            "again"
        ) from error
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header.get("__metadata__", {}), tensors


def _compare(path: Path, metadata: dict[str, str], discriminator: Discriminator) -> None:
    name, digest = metadata.get("discriminator", "?"), metadata.get("digest", "?")
    if digest != discriminator.digest:
        raise IdentityFileError(
            f"{path.name} was encoded by {name} ({digest[:8]}), and embeddings mean nothing to another discriminator, "
            f"here {discriminator.name} ({discriminator.digest[:8]}). Connect the loader of {name}, or encode the "
            f"reference images again with {discriminator.name}"
        )
    if (preprocessing := metadata.get("preprocessing", "?")) != discriminator.preprocessing:
        raise IdentityFileError(
            f"{path.name} was encoded by {name} with other settings: {preprocessing}; here {discriminator.name} has "
            f"{discriminator.preprocessing}. Set the loader to the former, or encode the reference images again"
        )


def _check(path: Path, metadata: dict[str, str], tensors: dict[str, Tensor], discriminator: Discriminator) -> None:
    """Raises IdentityFileError unless the tensors make an identity, so that none fails later, far from the file."""

    def damaged(what: str) -> IdentityFileError:
        return IdentityFileError(f"{path.name} is damaged: {what}. Encode the reference images again")

    if metadata.get("matching") not in MATCHINGS:
        raise damaged(f"it compares by {metadata.get('matching')!r}, which is none of {', '.join(MATCHINGS)}")
    missing = {"embeddings", "weights", "crops", "colors"} - tensors.keys()
    if missing:
        raise damaged(f"it has no {' and no '.join(sorted(missing))}")
    references = len(tensors["embeddings"]) if tensors["embeddings"].ndim else 0
    for name, dimensions in (("embeddings", 2), ("weights", 1), ("crops", 4), ("colors", 2), ("query", 2)):
        tensor = tensors.get(name)
        if tensor is None:
            continue
        if tensor.ndim != dimensions or len(tensor) != references or not tensor.numel():
            raise damaged(f"its {name} have the shape {tuple(tensor.shape)}")
        if name == "crops":
            if tensor.dtype != torch.uint8:
                raise damaged(f"its crops are {tensor.dtype}, and not 8-bit pictures")
        elif tensor.dtype not in _FLOATS:
            raise damaged(f"its {name} are {tensor.dtype}, and not fractions of 16 bits or more")
        elif not tensor.isfinite().all():
            raise damaged(f"its {name} have numbers that are nan or infinite")
    if (tensors["weights"] < 0).any() or not tensors["weights"].any():
        raise damaged("its weights are below 0, or all 0")
    lengths = torch.linalg.vector_norm(tensors["embeddings"], dim=1, dtype=torch.float64)
    if (lengths - 1).abs().max() > 1e-2:
        raise damaged("its embeddings are no unit vectors")
    if tensors["colors"].shape[1] != 3:
        raise damaged(f"its colors have the shape {tuple(tensors['colors'].shape)}")
    size = discriminator.input_size
    if (shape := tuple(tensors["crops"].shape[1:])) != (3, size, size):
        raise damaged(f"its crops have the shape {shape}, and its discriminator looks at {size} x {size} pixels")
    if (width := tensors["embeddings"].shape[1]) != (made := _width(discriminator)):
        raise damaged(f"its embeddings have {width} numbers, and those of {discriminator.name} {made}")


@torch.no_grad()
def _width(discriminator: Discriminator) -> int:
    """How many numbers an embedding of the discriminator has."""
    size, networks = discriminator.input_size, discriminator.networks
    weights = chain.from_iterable(chain(network.parameters(), network.buffers()) for network in networks)
    return discriminator.embed(torch.zeros(1, 3, size, size, device=next(weights, torch.zeros(())).device)).shape[1]
