"""What is where in a picture, by a segmenter: a class of its shall cover a mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .interfaces import Observation
from .pretrained import Preprocessing, digest, name_of, open_network, read_preprocessing
from .regions import fit_mask
from .views import Views

CLASSES = {
    "segformer": "SegformerForSemanticSegmentation",
    "mask2former": "Mask2FormerForUniversalSegmentation",
}
EXAMPLE = "for example nvidia/segformer-b0-finetuned-ade-512-512 on huggingface.co"
FACTOR = 100.0  # a class that is nowhere to be seen starts at a few hundred, one that is half there near 100
DEFAULT = Preprocessing(512, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class LogProbabilities(nn.Module):
    """A segmenter of transformers as normalised pixels ``(B, 3, s, s)`` -> log p of each class, ``(B, C, h, w)``."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, pixels: Tensor) -> Tensor:
        seen = self.segmenter(pixel_values=pixels)
        if hasattr(seen, "masks_queries_logits"):  # regions, and what each of them may be
            region = seen.masks_queries_logits.sigmoid()
            kind = seen.class_queries_logits.softmax(dim=-1)[..., :-1]  # the last is "nothing"
            share = torch.einsum("bqc,bqhw->bchw", kind, region) + 1e-6
            return (share / share.sum(dim=1, keepdim=True)).log()
        return seen.logits.log_softmax(dim=1)


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


@dataclass(frozen=True)
class SegmentationGuidance:
    """Draws a label of a segmenter to where a mask is, and nowhere else.

    mask: ``(h, w)``, of the image's shape at any size, in [0, 1]; above a half: there.  ValueError for a label that the
    segmenter does not know, and for a mask of nothing.
    """

    segmenter: Segmenter
    label: str
    mask: Tensor

    def __post_init__(self) -> None:
        self.segmenter.class_of(self.label)
        if not (self.mask > 0.5).any():
            raise ValueError(f"the mask is empty: paint over where {self.label} shall be")

    @property
    def discriminators(self) -> list[Segmenter]:
        return [self.segmenter]

    def energy(self, views: int = 4, seed: int = 0) -> SegmentationEnergy:
        return SegmentationEnergy(self.segmenter, self.label, self.mask, Views(views, seed) if views else None)


class SegmentationEnergy:
    """100 * the cross-entropy of "this pixel shows the label" and a mask, averaged over random views.

    Inside and outside of the mask count alike, whatever its size.  Similarity: the overlap of the label's probability
    and the mask, their minimum over their maximum in sum, from 0 to 1.
    """

    def __init__(self, segmenter: Segmenter, label: str, mask: Tensor, views: Views | None = None) -> None:
        self._segmenter = segmenter
        self._class = segmenter.class_of(label)
        self._mask = mask
        self._views = views

    def __call__(self, image: Tensor, iteration: int) -> Observation:
        goal = (fit_mask(self._mask, tuple(image.shape[-2:])) > 0.5).to(image).expand_as(image)
        if self._views is None:
            there, elsewhere, inside = self._look(image, goal)
            energy = _cross_entropy(there, elsewhere, inside)
        else:  # the mask moves with the picture: both are drawn alike
            there, elsewhere, inside = self._look(self._views(image, iteration), self._views(goal, iteration))
            energy = _cross_entropy(there, elsewhere, inside).view(self._views.count, -1).mean(dim=0)
            with torch.no_grad():
                there, elsewhere, inside = self._look(image, goal)
        if not inside.any():
            height, width = inside.shape[-2:]
            raise ValueError(
                f"nothing is left of the mask on the {width} x {height} points at which {self._segmenter.name} says "
                "what it sees: paint over a larger part"
            )
        return Observation(FACTOR * energy, _overlap(there.detach().exp(), inside))

    def _look(self, image: Tensor, goal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p and log (1 - p) of the label, and where it shall be: ``(B, h, w)`` each."""
        seen = self._segmenter.log_probabilities(image)
        there = seen[:, self._class]
        others = [number for number in range(seen.shape[1]) if number != self._class]
        elsewhere = seen[:, others].logsumexp(dim=1)
        inside = F.interpolate(goal[:, :1], there.shape[-2:], mode="bilinear", antialias=True)[:, 0] > 0.5
        return there, elsewhere, inside


def _cross_entropy(there: Tensor, elsewhere: Tensor, inside: Tensor) -> Tensor:
    """``(B,)``"""
    sides = [(inside, there), (~inside, elsewhere)]
    means = [(log_p * side).sum(dim=(1, 2)) / side.sum(dim=(1, 2)).clamp(min=1) for side, log_p in sides]
    return -sum(means) / 2


def _overlap(p: Tensor, inside: Tensor) -> Tensor:
    inside = inside.to(p)
    return p.minimum(inside).sum(dim=(1, 2)) / p.maximum(inside).sum(dim=(1, 2))


def load_segmenter(folder: Path) -> Segmenter:
    """From a folder in the Hugging Face layout; PretrainedError, in a user's words, for one that cannot serve."""
    network = open_network(folder, CLASSES, EXAMPLE)
    names: Mapping[int, str] = network.config.id2label
    return Segmenter(
        LogProbabilities(network),
        [names[number] for number in sorted(names)],
        read_preprocessing(folder, DEFAULT),
        name=name_of(folder),
        digest=digest(folder),
    )


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())
