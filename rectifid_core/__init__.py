"""RectifID: the method, free of any host (no ComfyUI import below this folder).

The public names, for use without ComfyUI; each is imported when it is first asked for, so that a missing package takes
away only what needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    # the solver and its contracts
    "solve": "solver.solve",
    "RULES": "solver.rules",
    "GRADIENTS": "solver.gradient",
    "Iterate": "solver.iterate",
    "Best": "solver.best",
    "settled": "solver.convergence",
    "Flow": "interfaces",
    "Decoder": "interfaces",
    "Energy": "interfaces",
    "Observation": "interfaces",
    # flows
    "PeRFlow": "flows.perflow",
    # discriminators
    "EmbeddingDiscriminator": "discriminators.base",
    "load_onnx": "networks.onnx",
    "load_face_discriminator": "discriminators.faces.discriminator",
    "load_subject_discriminator": "discriminators.subjects.discriminator",
    "load_segmenter": "discriminators.segmenter",
    # identities
    "Identity": "identity.identity",
    "encode_identity": "identity.encoding",
    "save_identity": "identity.files",
    "load_identity": "identity.files",
    "measure": "identity.measuring",
    # guidance
    "IdentityGuidance": "guidance.identity",
    "ColorGuidance": "guidance.color",
    "StyleGuidance": "guidance.style",
    "SegmentationGuidance": "guidance.segmentation",
    "GuidanceScope": "scope",
    "combine": "guidance.combination",
    "limit": "guidance.combination",
    # reports
    "Report": "report.report",
    "plot_report": "report.plot",
}

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll] - names, as they must be


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
