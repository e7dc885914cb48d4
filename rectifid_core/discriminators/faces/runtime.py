"""What insightface's models run in: onnxruntime, on the GPU where it can, and OpenCV's images."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors
from torch import Tensor

from ...networks.onnx import OnnxError

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # the first that works
REFUSALS = (
    errors.Fail,
    errors.InvalidArgument,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NotImplemented,
    errors.RuntimeException,
)  # onnxruntime's, which have no class in common
_said: set[str] = set()


def import_insightface() -> ModuleType:
    """insightface, which takes seconds to import and not everybody has; ImportError in a user's words."""
    try:
        import insightface.app
        import insightface.model_zoo
    except ImportError as error:
        raise ImportError(
            f"faces need the Python package insightface, which cannot be imported ({error}); install it with "
            f'"{sys.executable}" -m pip install "insightface>=2.0" and restart'
        ) from error
    return insightface


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """A session for an ONNX file; says once in the log where it runs.  OnnxError for a file that cannot run."""
    available = onnxruntime.get_available_providers()
    try:
        session = onnxruntime.InferenceSession(
            str(path), providers=[provider for provider in PROVIDERS if provider in available]
        )
    except REFUSALS as error:
        raise OnnxError(f"onnxruntime cannot run {path.name}: {error}") from error
    _say(session.get_providers()[0], available)
    return session


def _say(active: str, available: list[str]) -> None:
    if active in _said:
        return
    _said.add(active)
    if active == PROVIDERS[0]:
        logging.info("RectifID: faces are found on the GPU (%s)", active)
    elif PROVIDERS[0] in available:
        logging.warning(
            "RectifID: faces are found on the CPU (%s): onnxruntime offers %s, but could not start it; its log says "
            "why, mostly another version of CUDA or cuDNN",
            active,
            PROVIDERS[0],
        )
    else:
        logging.info("RectifID: faces are found on the CPU (%s); onnxruntime-gpu would use the GPU", active)


def as_bgr(image: Tensor) -> np.ndarray:
    """An image ``(3, H, W)``, RGB in [0, 1], on any device, as OpenCV has it: ``(H, W, 3)``, BGR, uint8."""
    pixels = (image.detach() * 255).round().clamp(0, 255).byte().flip(0).movedim(0, -1)
    return np.ascontiguousarray(pixels.cpu().numpy())
