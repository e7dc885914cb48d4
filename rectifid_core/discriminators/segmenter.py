"""Segmenters: networks that say, for each pixel, what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.pretrained import Preprocessing, open_network, read_preprocessing
from ..networks.pretrained_folders import name_of

CLASSES = {
    "segformer": "SegformerForSemanticSegmentation",
    "mask2former": "Mask2FormerForUniversalSegmentation",
}
EXAMPLE = "for example nvidia/segformer-b0-finetuned-ade-512-512 on huggingface.co"
DEFAULT = Preprocessing(512, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class LogProbabilities(nn.Module):
    """A segmenter of transformers as normalised pixels ``(B, 3, s, s)`` -> log p of each class, ``(B, C, h, w)``."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, pixels: Tensor) -> Tensor:
        output = self.segmenter(pixel_values=pixels)
        if hasattr(output, "masks_queries_logits"):  # a mask and a class for each query
            masks = output.masks_queries_logits.sigmoid()
            classes = output.class_queries_logits.softmax(dim=-1)[..., :-1]  # the last is "no object"
            scores = torch.einsum("bqc,bqhw->bchw", classes, masks) + 1e-6
            return (scores / scores.sum(dim=1, keepdim=True)).log()
        return output.logits.log_softmax(dim=1)


class Segmenter:
    """Says for each pixel which of its labels it shows; frozen.

    network: as `LogProbabilities`.
    name, digest, noun, networks: as of a `Discriminator`; labels: their names, in the order of the network's classes.
    input_size: the side in pixels of the square to which a picture is resized for it.
    """

    noun = "label"

    def __init__(
        self, network: nn.Module, labels: list[str], preprocessing: Preprocessing, *, name: str, digest: str
    ) -> None:
        self.network = network
        self.labels = labels
        self.name = name
        self.digest = digest
        self.input_size = preprocessing.size
        self._mean = torch.tensor(preprocessing.mean).view(-1, 1, 1)
        self._std = torch.tensor(preprocessing.std).view(-1, 1, 1)

    @property
    def networks(self) -> list[nn.Module]:
        return [self.network]

    def class_of(self, label: str) -> int:
        """The number of the class of that name, or of one of its names ("person, individual"); whatever the case.

        ValueError, with the names there are, for none.
        """
        wanted = _plain(label)
        names: dict[str, int] = {}
        for number, each in enumerate(self.labels):
            for name in (each, *each.replace(";", ",").split(",")):
                names.setdefault(_plain(name), number)
        if wanted in names and wanted:
            return names[wanted]
        close = get_close_matches(wanted, names, n=5)
        known = f"did you mean {' or '.join(close)}?" if close else f"it knows {', '.join(self.labels)}"
        raise ValueError(f"{self.name} has no label {label.strip()!r}; {known}")

    def log_probabilities(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in [0, 1] -> log p of each class, ``(B, C, h, w)``; differentiable."""
        image = F.interpolate(image, (self.input_size, self.input_size), mode="bilinear", antialias=True)
        return self.network((image - self._mean.to(image)) / self._std.to(image))


def load_segmenter(folder: Path) -> Segmenter:
    """From a folder in the Hugging Face layout; PretrainedError for one that cannot serve."""
    opened = open_network(folder, CLASSES, EXAMPLE)
    config: Any = opened.network.config
    names: Mapping[int, str] = config.id2label
    return Segmenter(
        LogProbabilities(opened.network),
        [str(names[number]) for number in sorted(names)],
        read_preprocessing(folder, DEFAULT),
        name=name_of(folder),
        digest=opened.digest,
    )


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())
