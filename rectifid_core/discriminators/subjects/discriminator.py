"""Subjects, that is things and animals: DINO tells them apart, OWL finds them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from ...images.regions import Region
from ...networks.pretrained import Preprocessing, open_network, read_preprocessing
from ...networks.pretrained_folders import name_of
from ..base import EmbeddingDiscriminator, cut_out
from .detector import SubjectDetector, load_subject_detector

CLASSES = {
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
}
EXAMPLE = "for example facebook/dinov2-base on huggingface.co (Apache-2.0)"
SMALL = 64  # pixels, below which a region is blown up so much that little is left to recognise
IMAGENET = Preprocessing(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class ClassFeature(nn.Module):
    """The class token of a vision transformer: ``(B, 3, s, s) -> (B, D)``."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.transformer(pixels).last_hidden_state[:, 0]


class SubjectDiscriminator(EmbeddingDiscriminator):
    """Recognises things and animals by the class feature of DINO, in a region that a detector finds.

    detector: finds what a query stands for.  None: there are no queries, and images are looked at in their middle.
    threshold: the score in [0, 1] from which on a region is sure; down to a quarter of it, regions are doubtful.
    The rest is as in EmbeddingDiscriminator.
    """

    noun = "subject"

    def __init__(
        self, network: nn.Module, detector: SubjectDetector | None, *, threshold: float = 0.1, **settings
    ) -> None:
        super().__init__(network, **settings)
        self.detector = detector
        self.threshold = threshold

    @property
    def networks(self) -> list[nn.Module]:
        return [self.network] if self.detector is None else [self.network, self.detector]

    @torch.no_grad()
    def locate(self, image: Tensor, query: Tensor | None = None, thorough: bool = False) -> list[list[Region]]:
        """What the query, ``(Q,)`` or one of ``(M, Q)``, stands for; without one, the square in the middle."""
        if query is None or self.detector is None:
            return [[_middle(image)]] * len(image)
        return self._beside(image, self.detector).detect(image, torch.atleast_2d(query), self.threshold / 4)

    @torch.no_grad()
    def text_query(self, text: str) -> Tensor | None:
        """``(1, Q)``; None for no words."""
        text = text.strip()
        if not text:
            return None
        if self.detector is None:
            raise ValueError(
                f"{text!r} cannot be looked for without a detector: choose one (OWL-ViT or OWLv2) in the discriminator "
                "that you load, or leave the text empty and paint a mask over what is meant"
            )
        return self.detector.text_query(text)

    @torch.no_grad()
    def image_query(self, image: Tensor, region: Region) -> Tensor | None:
        return None if self.detector is None else self._beside(image, self.detector).image_query(cut_out(image, region))

    def doubt(self, region: Region, crop: Tensor) -> str | None:
        if min(region.width, region.height) >= SMALL:
            return None
        return (
            f"the {self.noun} is only {region.width:.0f} x {region.height:.0f} pixels, so the likeness may be poor; "
            f"use a picture in which it is at least {SMALL} pixels wide and high"
        )

    def _beside(self, image: Tensor, detector: SubjectDetector) -> SubjectDetector:
        device = next(detector.parameters()).device
        if device != image.device:
            raise ValueError(
                f"the detector of {self.name} is on the device {device} and the picture on {image.device}; move one to "
                "the other"
            )
        return detector


def _middle(image: Tensor) -> Region:
    """The largest square in the middle of an image ``(..., H, W)``."""
    height, width = image.shape[-2:]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return Region((float(left), float(top), float(left + side), float(top + side)))


def load_subject_discriminator(
    embedder: Path, detector: Path | None, *, threshold: float = 0.1, dtype: torch.dtype = torch.float32
) -> SubjectDiscriminator:
    """From folders in the Hugging Face layout: DINOv2 or DINOv3 and, where not None, OWL-ViT or OWLv2.

    Raises PretrainedError for a folder that cannot serve.
    """
    opened = open_network(embedder, CLASSES, EXAMPLE, dtype)
    preprocessing = read_preprocessing(embedder, IMAGENET)
    name, digest, finder = name_of(embedder), opened.digest, None
    if detector is not None:  # part of both: an identity keeps what its detector has to look for
        finder = load_subject_detector(detector, dtype)
        name = f"{name} with {name_of(detector)}"
        digest = sha256(f"{digest} {finder.digest}".encode()).hexdigest()
    return SubjectDiscriminator(
        ClassFeature(opened.network),
        finder,
        threshold=threshold,
        name=name,
        digest=digest,
        input_size=preprocessing.size,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
