"""Finds faces and their five landmarks, by insightface's SCRFD."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...images.regions import Region, overlap
from ...networks.onnx_file import OnnxError
from .looks import MOST_TURNED, Look, Picture
from .runtime import import_insightface, open_session, refusals

LEEWAY = 0.3  # how far below the threshold a face may score and still be a last resort
LOWEST = 0.1  # below this score anything is a face
SIZES = ((640, 640), (128, 128))  # what a detector looks at that takes any size, as in insightface 2
FINER = 0.1  # how much surer it must be of a face at the second size, where landmarks are five times coarser
SAME = 0.3  # overlap from which two boxes of different looks are around the same face
UPRIGHT = 0.02  # how much surer the detector must be of a face in a turned picture


class FaceDetector:
    """``image (3, H, W)`` in [0, 1] -> its faces, with the eyes, the nose and the corners of the mouth as landmarks.

    path: an ONNX file with 9 or 15 outputs, as `pack.read_pack` finds it.
    threshold: in (0, 1); a face that scores at least this is confident.

    The confident faces come first, the largest before the others; then the doubtful ones, the surest first: those that
    score at least ``threshold - LEEWAY``, and not below `LOWEST`.  A face that fills its picture is none to the
    detector: where none is confident, it looks once more, with a margin of half the picture's size around it.

    Raises ValueError for another threshold, OnnxError for a file that does not run, ImportError without insightface.
    """

    def __init__(self, path: str | Path, threshold: float = 0.5) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"the detection threshold must be above 0 and below 1, not {threshold}")
        path = Path(path)
        self.threshold = threshold
        self._scrfd = import_insightface().model_zoo.SCRFD(str(path), open_session(path))
        self._scrfd.prepare(0, det_thresh=min(max(threshold - LEEWAY, LOWEST), threshold))
        try:
            width, height = self._scrfd.session.get_inputs()[0].shape[:1:-1]
            self._sizes = [(width, height)] if isinstance(width, int) and isinstance(height, int) else SIZES
            picture = Picture(torch.zeros(3, 64, 64))
            self._look(picture, picture.whole())
        except (ValueError, IndexError, RuntimeError, *refusals()) as error:
            raise OnnxError(f"{path.name} does not work as a face detector: {error}") from error

    @torch.no_grad()
    def __call__(self, image: Tensor) -> list[Region]:
        return self._ordered(self._glance(Picture(image)))

    @torch.no_grad()
    def search(self, image: Tensor) -> list[Region]:
        """As a call, but faces count too that are turned, or small in a large picture; 4 to some 130 looks.

        The picture is looked at in all four turns, and of each face that look counts in which the detector is surest
        of it.  Where none is confident, tiles of the picture are looked at, larger ones first, and at last
        `MOST_TURNED` of them in the other turns.
        """
        picture = Picture(image)
        faces = self._turn(picture, picture.whole(), self._glance(picture))
        if self._sure(faces):
            return self._ordered(faces)
        for tiles in picture.tiles():
            glances = [(tile, self._look(picture, tile)) for tile in tiles]
            turned = [self._turn(picture, tile, found) for tile, found in glances if self._sure(found)]
            if self._sure(found := _distinct(turned)):
                return self._ordered(found)
        for tiles in picture.tiles(MOST_TURNED):
            if self._sure(found := _distinct([self._turn(picture, tile, []) for tile in tiles])):
                return self._ordered(found)
        return self._ordered(faces)

    def _glance(self, picture: Picture) -> list[Region]:
        faces = self._look(picture, picture.whole())
        if not self._sure(faces):
            again = self._look(picture, picture.whole().with_margin())
            faces = max(faces, again, key=lambda found: max((face.score for face in found), default=0.0))
        return faces

    def _turn(self, picture: Picture, look: Look, upright: list[Region]) -> list[Region]:
        """The faces of a look, and those of the same turned: instead of them, or where none of them is confident."""
        turned = [self._look(picture, look.turned(quarters)) for quarters in (1, 2, 3)]
        if sure := self._sure(upright):
            turned = [[face for face in faces if any(overlap(face, each) >= SAME for each in sure)] for faces in turned]
        return _distinct([upright, *turned], lead=UPRIGHT)

    def _look(self, picture: Picture, look: Look) -> list[Region]:
        """The faces that a look shows whole."""
        found = []
        for size in self._sizes:
            pixels, scale = picture.draw(look, size)
            boxes, landmarks = self._scrfd.detect(pixels, input_size=size)
            found.append([picture.restore(look, scale, *each) for each in zip(boxes, landmarks, strict=True)])
        return [face for face in _distinct(found, lead=FINER) if not picture.cuts(look, face)]

    def _sure(self, faces: list[Region]) -> list[Region]:
        return [face for face in faces if face.score >= self.threshold]

    def _ordered(self, faces: list[Region]) -> list[Region]:
        doubtful = [face for face in faces if face.score < self.threshold]
        return [
            *sorted(self._sure(faces), key=lambda face: face.area, reverse=True),
            *sorted(doubtful, key=lambda face: face.score, reverse=True),
        ]


def _distinct(looks: Sequence[list[Region]], lead: float = 0.0) -> list[Region]:
    """The faces of several looks, each once: as the look has it that scores it highest.

    lead: what is added to the scores of the first look.
    """
    found = [(face.score + lead * (number == 0), number, face) for number, faces in enumerate(looks) for face in faces]
    kept: list[tuple[int, Region]] = []
    for _, number, face in sorted(found, key=lambda each: each[0], reverse=True):
        if all(number == other or overlap(face, each) < SAME for other, each in kept):
            kept.append((number, face))
    return [face for _, face in kept]
