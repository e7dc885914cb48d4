"""Faces: found by a detector, aligned by their landmarks, embedded by a recogniser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...images.regions import Region
from ...images.spots import discs
from ...networks.onnx import OnnxNetwork, load_onnx
from ...networks.onnx_file import OnnxError, read_onnx
from ..base import EmbeddingDiscriminator
from .alignment import align, template
from .detector import FaceDetector
from .doubts import doubt_face
from .pack import SOURCES, FacePack, FacePackError, read_pack

SPOT = 0.06  # of a crop, the radius of a spot of skin


class FaceDiscriminator(EmbeddingDiscriminator):
    """The faces of an image, by the files of a pack.

    network, settings: the recogniser and what `EmbeddingDiscriminator` wants to know of it.
    """

    noun = "face"
    detects = True

    def __init__(self, network: nn.Module, pack: FacePack, detector: FaceDetector, **settings: Any) -> None:
        super().__init__(network, name=pack.name, **settings)
        self.pack = pack
        self.threshold = detector.threshold
        self._detector = detector

    def locate(self, image: Tensor, query: Tensor | None = None, thorough: bool = False) -> list[list[Region]]:
        """The faces in each image, as `FaceDetector` orders them; with ``thorough`` those of its `search`."""
        return [self._detector.search(sample) if thorough else self._detector(sample) for sample in image]

    def crop(self, image: Tensor, regions: list[Region]) -> Tensor:
        """Each face, aligned by its landmarks."""
        return torch.stack(
            [
                align(sample, cast(Tensor, region.landmarks), self.input_size)  # a face has them
                for sample, region in zip(image, regions, strict=True)
            ]
        )

    def _interior(self, crops: Tensor) -> Tensor:
        """The cheeks, half-way between the eyes and the corners of the mouth, the nose and the forehead."""
        left_eye, right_eye, nose, left_mouth, right_mouth = template(self.input_size) / self.input_size
        brow, eyes = (left_eye + right_eye) / 2, right_eye - left_eye
        forehead = brow - 0.45 * torch.stack([-eyes[1], eyes[0]])  # upwards, by half the eyes' distance
        spots = torch.stack([(left_eye + left_mouth) / 2, (right_eye + right_mouth) / 2, (brow + nose) / 2, forehead])
        return discs(self.input_size, spots, SPOT).expand(len(crops), 1, -1, -1)

    def doubt(self, region: Region, crop: Tensor) -> str | None:
        return doubt_face(region, crop, self.features)


def load_face_discriminator(
    folder: str | Path, *, threshold: float = 0.5, dtype: torch.dtype = torch.float32
) -> FaceDiscriminator:
    """The discriminator of the face pack in ``folder``, with its recogniser on the CPU.

    threshold: of the detector, in (0, 1).
    dtype: of the recogniser; float16 and bfloat16 take half the memory.

    Raises FacePackError for a folder or a file that cannot serve, ValueError for another threshold, and ImportError
    without insightface.
    """
    pack = read_pack(folder)
    try:
        detector = FaceDetector(pack.detector, threshold)
        network = load_onnx(pack.recogniser)
        mean, std = (0.0, 1 / 255) if _normalises(pack.recogniser) else (0.5, 0.5)
        _try(network, pack.recogniser)
    except OnnxError as error:
        raise FacePackError(f"the face pack {pack.name}, in {pack.recogniser.parent}: {error}. {SOURCES}") from error
    return FaceDiscriminator(
        network.to(dtype),
        pack,
        detector,
        digest=network.digest,
        input_size=network.shape[-1],
        mean=mean,
        std=std,
    )


def _try(network: OnnxNetwork, recogniser: Path) -> None:
    """OnnxError for a recogniser that does not make an embedding of a crop."""
    try:
        with torch.no_grad():
            embedding = network(torch.zeros(1, 3, *cast(Sequence[int], network.shape[2:])))
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise OnnxError(f"{recogniser.name} does not work as a face recogniser: {error}") from error
    if embedding.ndim != 2 or len(embedding) != 1:
        raise OnnxError(f"{recogniser.name} makes {tuple(embedding.shape)} of one face, and not one embedding")


def _normalises(recogniser: Path) -> bool:
    """Whether the network itself subtracts a mean and scales, and so takes values of 0 to 255, as exports of mxnet do.

    insightface's rule: there is a subtraction and a multiplication by name among its first eight nodes.
    """
    names = [node.name for node in read_onnx(recogniser).graph.node[:8]]
    return all(any(name.startswith(each) for name in names) for each in (("Sub", "_minus"), ("Mul", "_mul")))
