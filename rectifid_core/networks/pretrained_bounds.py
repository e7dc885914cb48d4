"""Whether a config.json describes a network of the size of its weights, seen before that network is made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

_COUNTS = re.compile(r"layers|depth|blocks|stages", re.IGNORECASE)  # settings that say how often something is made
_ROOM = 1.5  # times the weights: what is tied, or computed, is in the network and not in the file


def larger_than_weights(network_class: Any, settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> str | None:
    """What of it is too large for the weights, in words; None for nothing.

    Layers have weights, so that there are not more of them than weights in the file; and a network that is made without
    memory has not many more numbers than the file.
    """
    for name, count in _counts(settings):
        if count > len(state):
            return f"{name} is {count}, and the file has {len(state)} weights in all"
    try:
        with torch.device("meta"):
            network = network_class(network_class.config_class.from_dict(dict(settings)))
    except Exception:  # what transformers raises for a wrong configuration is told where the network is made
        return None
    wanted = sum(parameter.numel() for parameter in network.parameters())
    there = sum(tensor.numel() for tensor in state.values())
    if wanted > _ROOM * there:
        return f"that network has {wanted} numbers, and the file {there}"
    return None


def _counts(settings: Any, name: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _counts(value, str(key))
    elif isinstance(settings, list):
        for value in settings:
            yield from _counts(value, name)
    elif isinstance(settings, int) and not isinstance(settings, bool) and _COUNTS.search(name):
        yield name, settings
