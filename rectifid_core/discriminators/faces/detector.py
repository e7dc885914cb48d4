"""Finds faces and their five landmarks, by insightface's SCRFD."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...images.regions import Region
from ...networks.onnx_file import OnnxError
from .runtime import as_bgr, import_insightface, open_session, refusals

LEEWAY = 0.3  # how far below the threshold a face may score and still be a last resort
LOWEST = 0.1  # below this score anything is a face
LONGEST = 1280  # pixels to a side; the detector itself looks at 640
NARROWEST = 1 / 16  # of the longer side


class FaceDetector:
    """``image (3, H, W)`` in [0, 1] -> its faces, with the eyes, the nose and the corners of the mouth as landmarks.

    path: an ONNX file with 9 or 15 outputs, as `face_pack.read_pack` finds it.
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
            self._find(np.zeros((64, 64, 3), np.uint8))
        except (ValueError, IndexError, RuntimeError, *refusals()) as error:
            raise OnnxError(f"{path.name} does not work as a face detector: {error}") from error

    def __call__(self, image: Tensor) -> list[Region]:
        shrink = -(-max(image.shape[-2:]) // LONGEST)  # rounded up
        if shrink > 1:
            image = F.avg_pool2d(image[None], shrink, ceil_mode=True)[0]
        pixels = as_bgr(image)
        faces = self._find(pixels, shrink)
        if not any(face.score >= self.threshold for face in faces):
            height, width = pixels.shape[:2]
            dx, dy = width // 2, height // 2
            margin = np.pad(pixels, ((dy, dy), (dx, dx), (0, 0)))
            again = self._find(margin, shrink, (-dx, -dy))
            faces = max(faces, again, key=lambda found: found[0].score if found else 0.0)
        return faces

    def _find(self, pixels: np.ndarray, scale: int = 1, shift: tuple[int, int] = (0, 0)) -> list[Region]:
        """The faces in ``(H, W, 3)``, BGR, uint8; a point p of it is at ``(p + shift) * scale``."""
        sides = pixels.shape[:2]
        lacking = [max(int(max(sides) * NARROWEST) - side, 0) for side in sides]
        if any(lacking):  # insightface would resize a strip to no pixels at all
            pixels = np.pad(pixels, ((0, lacking[0]), (0, lacking[1]), (0, 0)))
        boxes, landmarks = self._scrfd.detect(pixels)
        offset = torch.tensor(shift)
        faces = [
            Region(
                tuple(((torch.from_numpy(box[:4]).view(2, 2) + offset) * scale).flatten().tolist()),
                float(box[4]),
                (torch.from_numpy(points) + offset) * scale,
            )
            for box, points in zip(boxes, landmarks, strict=True)
        ]
        confident = [face for face in faces if face.score >= self.threshold]
        doubtful = [face for face in faces if face.score < self.threshold]
        return [
            *sorted(confident, key=lambda face: face.area, reverse=True),
            *sorted(doubtful, key=lambda face: face.score, reverse=True),
        ]
