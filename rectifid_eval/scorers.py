"""Networks that score a picture: how alike it is to the reference, how well it fits its prompt."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from rectifid_core import (
    EmbeddingDiscriminator,
    encode_identity,
    load_face_discriminator,
    load_onnx,
    load_subject_discriminator,
    measure,
)
from rectifid_core.discriminators.base import Discriminator
from rectifid_core.networks.onnx import input_size
from rectifid_core.networks.pretrained import open_network

# What each kind of network scores.
MEASURES = {"face pack": "identity", "recogniser": "identity", "dino": "subject", "clip": "prompt"}
NO_FACE = "no face in the picture"
REMEMBERED = 64  # references whose embedding is kept
CLIP = "for example openai/clip-vit-large-patch14 on huggingface.co (MIT)"


@dataclass(frozen=True)
class Drawn:
    """A picture to be scored, and what it was to show; both pictures as the bytes of their files."""

    key: str
    prompt: str
    face: str  # its digest
    reference: bytes
    picture: bytes


class Scorer(Protocol):
    """digest: its name, and the SHA-256 of its networks and settings, so that no scores of others count as its own."""

    digest: str

    def __call__(self, drawn: Drawn) -> tuple[float, str | None]:
        """The score, a cosine in [-1, 1], and what to know about it; ValueError where there is none."""
        ...


class Likeness:
    """How alike reference and picture are to a discriminator; a picture without a face is not alike at all: 0."""

    def __init__(self, discriminator: Discriminator, device: str) -> None:
        self.discriminator = discriminator
        settings = sha256(f"{discriminator.digest} {discriminator.preprocessing}".encode()).hexdigest()
        self.digest = f"{discriminator.name} {settings[:12]}"
        self.device = device
        for network in discriminator.networks:
            network.to(device)
        self._identities: OrderedDict[str, Any] = OrderedDict()

    def __call__(self, drawn: Drawn) -> tuple[float, str | None]:
        identity = self._identity(drawn)
        (found,) = measure(identity, self.discriminator, _tensor(drawn.picture, self.device)[None])
        return (0.0, NO_FACE) if found is None else (found.similarity, found.doubt)

    def _identity(self, drawn: Drawn) -> Any:
        if drawn.face not in self._identities:
            reference = _tensor(drawn.reference, self.device)
            strategy = "largest" if self.discriminator.detects else "only"
            self._identities[drawn.face] = encode_identity(self.discriminator, [reference], strategy=strategy)
            if len(self._identities) > REMEMBERED:
                self._identities.popitem(last=False)
        return self._identities[drawn.face]


class ClipScorer:
    """How well the picture fits its prompt, to CLIP: the cosine of both (Hessel et al., CLIPScore, 2021, unscaled)."""

    def __init__(self, folder: Path, device: str) -> None:
        from transformers import CLIPProcessor

        opened = open_network(folder, {"clip": "CLIPModel"}, CLIP)
        self.network: Any = opened.network.to(device)
        self.digest = f"{folder.name} {opened.digest[:12]}"
        self.processor: Any = CLIPProcessor.from_pretrained(folder, local_files_only=True)
        self.device = device

    @torch.no_grad()
    def __call__(self, drawn: Drawn) -> tuple[float, str | None]:
        inputs = self.processor(text=[drawn.prompt], images=_image(drawn.picture), return_tensors="pt", truncation=True)
        seen = self.network(**inputs.to(self.device))
        return float(F.cosine_similarity(seen.image_embeds, seen.text_embeds)), None


def load_scorer(kind: str, path: Path, device: str) -> Scorer:
    """The scorer of a file or folder; raises what its loader raises, with advice, for one that cannot serve."""
    if kind == "clip":
        return ClipScorer(path, device)
    if kind == "face pack":
        return Likeness(load_face_discriminator(path), device)
    if kind == "dino":
        return Likeness(load_subject_discriminator(path, None), device)
    network = load_onnx(path)
    size = input_size(path)
    return Likeness(EmbeddingDiscriminator(network, name=path.stem, digest=network.digest, input_size=size), device)


def _image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def _tensor(content: bytes, device: str) -> Tensor:
    """``(3, H, W)`` in [0, 1]."""
    pixels = np.asarray(_image(content), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1).to(device)
