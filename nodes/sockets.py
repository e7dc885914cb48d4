"""What arrives at sockets of the host's types, at *report* and at *settings*, checked: a wildcard lets anything by.

Sockets of the pack's other types are checked where they are used, see `checks`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from ..rectifid_core.report.report import Report
from .checks import name_of
from .host.run.settings import SamplerSettings


class Kind(NamedTuple):
    """What a socket of a type takes: a name, whether a value is one, and where one comes from."""

    name: str
    holds: Callable[[Any], bool]
    source: str


def _conditioning(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, list | tuple) and len(each) == 2 and isinstance(each[0], Tensor) and isinstance(each[1], dict)
        for each in value
    )


KINDS = {
    "MODEL": Kind("a model", lambda value: hasattr(value, "get_model_object"), "a loader of checkpoints or models"),
    "VAE": Kind("a VAE", lambda value: value is None or hasattr(value, "first_stage_model"), "Load VAE"),
    "CLIP": Kind("a CLIP", lambda value: value is None or hasattr(value, "tokenize"), "Load CLIP"),
    "CLIP_VISION": Kind(
        "a CLIP vision model", lambda value: value is None or hasattr(value, "encode_image"), "Load CLIP Vision"
    ),
    "CONDITIONING": Kind("a prompt's conditioning", _conditioning, "CLIP Text Encode"),
    "LATENT": Kind(
        "a latent",
        lambda value: isinstance(value, dict) and isinstance(value.get("samples"), Tensor),
        "an empty latent or VAE Encode",
    ),
    "RECTIFID_REPORT": Kind(
        "a report", lambda value: isinstance(value, Report), "the report of the Anchored Rectified Sampler"
    ),
    "RECTIFID_SETTINGS": Kind(
        "settings", lambda value: value is None or isinstance(value, SamplerSettings), "Sampler Settings"
    ),
}


def wrong_socket(io_type: str, name: str, value: Any) -> str | None:
    """What is wrong with what the socket ``name`` of that type got; None for nothing, and for types that nodes check.

    None for a VAE, CLIP or CLIP vision model is left to the node: checkpoints without one give it.
    """
    kind = KINDS.get(io_type)
    if kind is None or kind.holds(value):
        return None
    return (
        f"{name_of(value)} arrives at {name}, where {kind.name} should: connect {kind.source}, and look at switches "
        "and muted nodes on the way"
    )
