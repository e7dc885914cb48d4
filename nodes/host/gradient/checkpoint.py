"""Keeps less for a backward: what the blocks of a network compute is computed again when the backward comes there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from comfy.ldm.modules.attention import SpatialTransformer
from torch import nn

from .recomputation import Recomputed

_CONTAINERS = (nn.ModuleList, nn.Sequential, SpatialTransformer)


@contextmanager
def checkpointed(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, a gradient keeps the inputs of the networks' blocks, and all else of one block at a time."""
    blocks = [block for network in networks for block in blocks_of(network)]
    own = [vars(block).get("forward") for block in blocks]
    for block in blocks:
        vars(block)["forward"] = Recomputed(block.forward)
    try:
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            del vars(block)["forward"]
            if forward is not None:
                vars(block)["forward"] = forward


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The outermost modules that it holds in lists or sequences, but for single layers."""
    return list(_blocks(network))


def _blocks(module: nn.Module, listed: bool = False) -> Iterator[nn.Module]:
    for child in module.children():
        if listed and _is_block(child):
            yield child
        else:
            yield from _blocks(child, isinstance(child, _CONTAINERS) or (listed and not _is_called(child)))


def _is_block(module: nn.Module) -> bool:
    return _is_called(module) and any(module.children()) and not isinstance(module, _CONTAINERS)


def _is_called(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward
