"""What a computation costs, counted without doing it: on tensors that have a shape and a type, and no content.

So the largest networks can be counted on any machine.  What kernels take for themselves while they run is not in it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten


@dataclass(frozen=True)
class Cost:
    """flops: of matrix products, convolutions and attention, a multiplication and an addition being two.

    bytes: the most that the tensors which it makes take at one time; what was there before does not count.
    """

    flops: int
    bytes: int


def cost(run: Callable[[], object]) -> Cost:
    """Of ``run``, in which every number that is read from a tensor is 1, and every truth true."""
    counter = _Counter()
    with FakeTensorMode(allow_non_fake_inputs=True), counter:
        run()
    return Cost(counter.flops, counter.peak)


# torch's own list has the GPU's attention only; of how many shapes, the first arguments', each is a function
_ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu: (sdpa_flop_count, 3),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (sdpa_backward_flop_count, 4),
}


class _Counter(TorchDispatchMode):
    """Adds up operations, and follows the storages that they make until these are freed.

    Not torch's FlopCounterMode, whose hooks on modules do not go with `torch.autograd.grad`; its formulas.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.peak = self._now = 0
        self._alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is aten._local_scalar_dense.default:  # there is no content to read
            return one(args[0].dtype)
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func._overloadpacket
        if name in _ATTENTION:
            formula, count = _ATTENTION[name]
            self.flops += formula(*(tensor.shape for tensor in args[:count]))
        elif name in flop_registry:
            self.flops += flop_registry[name](*args, **kwargs, out_val=result)
        if not any(each.alias_info for each in func._schema.returns):
            for tensor in tree_leaves(result):
                if isinstance(tensor, Tensor):
                    self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key not in self._alive:
            self._alive[key] = weakref.ref(storage, lambda _: self._free(key, size))
            self._now += size
            self.peak = max(self.peak, self._now)

    def _free(self, key: int, size: int) -> None:
        del self._alive[key]
        self._now -= size


def one(dtype: torch.dtype) -> bool | int | float:
    """What is read from a tensor of this type that has no content."""
    return True if dtype is torch.bool else 1.0 if dtype.is_floating_point else 1
