"""Tensors inside a MODEL's patches, which the host does not know of.

An attention patch (IPAdapter's, a hypernetwork) brings layers, tokens and masks of its own, made by a node under
`torch.inference_mode` and kept wherever the patch likes.  What cannot be found beforehand is seen when it is used.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class CloneInferenceOperands(TorchFunctionMode):
    """Inside, an inference tensor that meets the graph of a gradient is cloned, so that autograd may save it.

    And what would be written into a tensor of the caller's (``out=``) becomes a new one, since autograd refuses it.

    A backward runs without it: what is computed again there has to put it on again, where `is_on` says so.
    """

    _depth = ContextVar("depth", default=0)

    @classmethod
    def is_on(cls) -> bool:
        return cls._depth.get() > 0

    def __enter__(self) -> CloneInferenceOperands:
        self._depth.set(self._depth.get() + 1)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._depth.set(self._depth.get() - 1)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.is_grad_enabled() and not _changes_or_asks(func) and _any(_in_a_graph, (args, kwargs)):
            args, kwargs = _normal(args), _normal({name: each for name, each in kwargs.items() if name != "out"})
        return func(*args, **kwargs)


def _changes_or_asks(func: Any) -> bool:
    """In place (`add_`, `__iadd__`, `__setitem__`), where a clone would lose the change, or an attribute's getter."""
    name = func.__name__
    if name.startswith("__"):
        return name in ("__get__", "__set__", "__setitem__") or name.startswith("__i")
    return name.endswith("_")


def _in_a_graph(tensor: Tensor) -> bool:
    return tensor.requires_grad


def _any(holds: Any, value: Any) -> bool:
    if isinstance(value, Tensor):
        return holds(value)
    if isinstance(value, list | tuple):
        return any(_any(holds, each) for each in value)
    return isinstance(value, dict) and any(_any(holds, each) for each in value.values())


def _normal(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone() if value.is_inference() else value
    if type(value) in (list, tuple):
        return type(value)(_normal(each) for each in value)
    if type(value) is dict:
        return {key: _normal(each) for key, each in value.items()}
    return value
