"""The weights of a network, whatever it is made of."""

from __future__ import annotations

from itertools import chain

from torch import Tensor, nn


def first_weight(network: nn.Module, default: Tensor) -> Tensor:
    """A floating-point weight, which says on which device and in which type the network takes pictures.

    Networks that were converted from ONNX may have all of them as buffers.  ``default`` where there is none.
    """
    weights = chain(network.parameters(), network.buffers())
    return next((weight for weight in weights if weight.is_floating_point()), default)
