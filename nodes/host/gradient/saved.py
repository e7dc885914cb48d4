"""Tensors that autograd has saved, and that a model changes in place before the backward comes to them.

`torch.autograd.graph.allow_mutation_on_saved_tensors` is meant for it, and mistakes a new tensor for one that it has
copied, where the new one has taken the place of the old in memory: FreeU_V2 with three windows in one graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode


class Saved:
    """What autograd holds in place of a tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class CopyBeforeWrite(TorchDispatchMode):
    """Inside, before an operation in place, each tensor that is `hold`-ed on the same storage becomes a copy."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[int, WeakSet[Saved]] = {}

    def hold(self, tensor: Tensor) -> Saved:
        saved = Saved(tensor)
        self._held.setdefault(_storage(tensor), WeakSet()).add(saved)
        return saved

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                written = kwargs.get(argument.name, args[place] if place < len(args) else None)
                for each in written if isinstance(written, list | tuple) else [written]:
                    if isinstance(each, Tensor):
                        self._copy(_storage(each))
        return func(*args, **kwargs)

    def _copy(self, storage: int) -> None:
        copies: dict[Any, Tensor] = {}
        for saved in self._held.pop(storage, ()):
            place = saved.tensor.storage_offset(), saved.tensor.shape, saved.tensor.stride(), saved.tensor.dtype
            if place not in copies:
                copies[place] = saved.tensor.detach().clone()
            saved.tensor = copies[place]


@contextmanager
def saved_tensors_may_change() -> Iterator[None]:
    """Inside, a gradient is right whatever is changed in place; forward and backward have to be in the same one.

    What is changed is copied, and nothing else; that each operation is looked at takes half as much time again.
    """
    with CopyBeforeWrite() as copies, saved_tensors_hooks(copies.hold, lambda saved: saved.tensor):
        yield


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
