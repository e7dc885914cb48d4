"""Keeps less for a backward: what the blocks of a network compute is computed again when the backward comes there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from comfy.ldm.modules.attention import SpatialTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_CONTAINERS = (nn.ModuleList, nn.Sequential, SpatialTransformer)


@contextmanager
def checkpointed(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, a gradient keeps the inputs of the networks' blocks, and all else of one block at a time."""
    blocks = [block for network in networks for block in _blocks(network)]
    own = [vars(block).get("forward") for block in blocks]
    for block in blocks:
        vars(block)["forward"] = partial(_forward, block.forward)
    try:
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            del vars(block)["forward"]
            if forward is not None:
                vars(block)["forward"] = forward


def _blocks(module: nn.Module, listed: bool = False) -> Iterator[nn.Module]:
    """The outermost modules that are kept in lists or sequences, but for single layers."""
    for child in module.children():
        if listed and _is_block(child):
            yield child
        else:
            yield from _blocks(child, isinstance(child, _CONTAINERS) or (listed and not _is_called(child)))


def _is_block(module: nn.Module) -> bool:
    return _is_called(module) and any(module.children()) and not isinstance(module, _CONTAINERS)


def _is_called(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward


def _forward(forward: Callable, *args: Any, **kwargs: Any) -> Any:
    values = (*args, *kwargs.values())
    # a list is what blocks hand on to each other, as those of a video VAE do their cache: not to be gone through twice
    if not any(map(_in_a_graph, values)) or any(isinstance(each, list) for each in values):
        return forward(*args, **kwargs)

    def run(*args: Any, **kwargs: Any) -> Any:
        return forward(*map(_clone, args), **{name: _clone(each) for name, each in kwargs.items()})

    args, kwargs = tuple(map(_copy, args)), {name: _copy(each) for name, each in kwargs.items()}
    return checkpoint(run, *args, use_reentrant=False, **kwargs)


def _in_a_graph(value: Any) -> bool:
    return torch.is_grad_enabled() and isinstance(value, Tensor) and value.requires_grad


def _clone(value: Any) -> Any:
    """A block may change its input in place, which is needed again."""
    return value.clone() if isinstance(value, Tensor) else value


def _copy(value: Any) -> Any:
    """The host writes into its options, from block to block, which one comes."""
    return dict(value) if type(value) is dict else value
