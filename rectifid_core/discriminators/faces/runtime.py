"""What insightface's models run in: onnxruntime, on the GPU where it can, and OpenCV's images."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ...networks.onnx_file import OnnxError, read_whole_onnx
from ...packages import importing

if TYPE_CHECKING:
    import onnxruntime

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # the first that works
_said: set[str] = set()


def import_insightface() -> ModuleType:
    """insightface, which takes seconds to import and not everybody has; ImportError with advice."""
    with importing("insightface>=0.7.3", "faces"):
        import insightface.app
        import insightface.model_zoo
    return insightface


def refusals() -> tuple[type[Exception], ...]:
    """onnxruntime's errors, which have no class in common."""
    errors = import_module("onnxruntime.capi.onnxruntime_pybind11_state")  # an extension, which has no types

    return (
        errors.Fail,
        errors.InvalidArgument,
        errors.InvalidGraph,
        errors.InvalidProtobuf,
        errors.NotImplemented,
        errors.RuntimeException,
    )


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """A session for an ONNX file; says once in the log where it runs.  OnnxError for a file that cannot run."""
    with importing("onnxruntime>=1.17", "faces"):
        import onnxruntime
    available = onnxruntime.get_available_providers()
    try:
        session = onnxruntime.InferenceSession(
            read_whole_onnx(path).model.SerializeToString(),  # by its path, onnxruntime would map files into memory
            providers=[provider for provider in PROVIDERS if provider in available],
        )
    except (*refusals(), UnicodeDecodeError) as error:  # the latter where a name in the file is no text
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
