"""Identities as files: safetensors, so that a file is data and none of it is executed."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..discriminators.base import Discriminator
from .identity import MATCHINGS, Identity

FORMAT, VERSION = "rectifid-identity", "1"


class IdentityFileError(ValueError):
    """The file cannot serve as an identity; the message says why and what to do."""


def save_identity(identity: Identity, path: str | Path) -> None:
    """Writes all of ``identity`` but the images that it was encoded from; the crops are rounded to 8 bits.

    The file appears complete or not at all.  Raises IdentityFileError where ``path`` exists.
    """
    path = Path(path)
    tensors = {
        "embeddings": identity.embeddings,
        "weights": identity.weights,
        "crops": (identity.crops * 255).round().clamp(0, 255).byte(),
    }
    if identity.query is not None:
        tensors["query"] = identity.query
    references, width = identity.embeddings.shape
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "discriminator": identity.discriminator.name,
        "digest": identity.discriminator.digest,
        "matching": identity.matching,
        # for people; the tensors say the same
        "references": str(references),
        "embedding_width": str(width),
        "crop_size": str(identity.crops.shape[-1]),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, part, metadata)
        path.touch(exist_ok=False)  # takes the name: of two who want it at once, one is refused
        os.replace(part, path)
    except FileExistsError as error:
        raise IdentityFileError(f"{path} exists already, and is kept; choose another name") from error
    finally:
        part.unlink(missing_ok=True)


def load_identity(path: str | Path, discriminator: Discriminator) -> Identity:
    """The identity of a file, on the CPU and without the images that it was encoded from.

    Raises IdentityFileError for a file that is no identity, is damaged, or was encoded by another discriminator than
    ``discriminator``, and FileNotFoundError where there is none.
    """
    path = Path(path)
    metadata, tensors = _read(path)
    if metadata.get("format") != FORMAT:
        raise IdentityFileError(
            f"{path.name} is a safetensors file, but no identity; choose one that was saved as such"
        )
    if metadata.get("version") != VERSION:
        raise IdentityFileError(
            f"{path.name} has version {metadata.get('version')} of the identity format and this pack reads version "
            f"{VERSION}; update the pack, or encode the reference images again"
        )
    _compare(path, metadata, discriminator)
    _check(path, metadata, tensors, discriminator.input_size)
    return Identity(
        discriminator,
        tensors["embeddings"],
        tensors["crops"].float() / 255,
        tensors["weights"],
        metadata["matching"],
        tensors.get("query"),
    )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        with path.open("rb") as file:
            start = file.read(2)
        if start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):  # torch.save writes the first
            raise IdentityFileError(
                f"{path.name} is a pickle by another name, which can run code when it is opened; it was not. Do not "
                "trust where it came from, and encode the reference images again"
            ) from error
        raise IdentityFileError(
            f"{path.name} is no safetensors file, or only a part of one; copy it again, or encode the reference images "
            "again"
        ) from error


def _compare(path: Path, metadata: dict[str, str], discriminator: Discriminator) -> None:
    name, digest = metadata.get("discriminator", "?"), metadata.get("digest", "?")
    if digest != discriminator.digest:
        raise IdentityFileError(
            f"{path.name} was encoded by {name} ({digest[:8]}), and embeddings mean nothing to another discriminator, "
            f"here {discriminator.name} ({discriminator.digest[:8]}). Connect the loader of {name}, or encode the "
            f"reference images again with {discriminator.name}"
        )


def _check(path: Path, metadata: dict[str, str], tensors: dict[str, Tensor], input_size: int) -> None:
    """Raises IdentityFileError unless the tensors make an identity, so that none fails later, far from the file."""

    def damaged(what: str) -> IdentityFileError:
        return IdentityFileError(f"{path.name} is damaged: {what}. Encode the reference images again")

    if metadata.get("matching") not in MATCHINGS:
        raise damaged(f"it compares by {metadata.get('matching')!r}, which is none of {', '.join(MATCHINGS)}")
    missing = {"embeddings", "weights", "crops"} - tensors.keys()
    if missing:
        raise damaged(f"it has no {' and no '.join(sorted(missing))}")
    references = len(tensors["embeddings"]) if tensors["embeddings"].ndim else 0
    for name, dimensions in (("embeddings", 2), ("weights", 1), ("crops", 4), ("query", 2)):
        tensor = tensors.get(name)
        if tensor is None:
            continue
        if tensor.ndim != dimensions or len(tensor) != references or not tensor.numel():
            raise damaged(f"its {name} have the shape {tuple(tensor.shape)}")
        if name == "crops":
            if tensor.dtype != torch.uint8:
                raise damaged(f"its crops are {tensor.dtype}, and not 8-bit pictures")
        elif not tensor.is_floating_point():
            raise damaged(f"its {name} are {tensor.dtype}, and not fractions")
        elif not tensor.isfinite().all():
            raise damaged(f"its {name} have numbers that are nan or infinite")
    if (tensors["weights"] < 0).any() or not tensors["weights"].any():
        raise damaged("its weights are below 0, or all 0")
    if (tensors["embeddings"].norm(dim=1) - 1).abs().max() > 1e-2:
        raise damaged("its embeddings are no unit vectors")
    shape = tuple(tensors["crops"].shape[1:])
    if shape != (3, input_size, input_size):
        raise IdentityFileError(
            f"{path.name} has crops of the shape {shape}, and its discriminator looks at {input_size} x {input_size} "
            "pixels; load that with the input size with which the identity was encoded"
        )
