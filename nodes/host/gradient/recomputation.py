"""A block that is computed again when its backward comes, in place of keeping what it computed.

As `torch.utils.checkpoint`, with two differences that other packs' code needs.  A block may change a tensor in place
that autograd has saved: without recomputation this raises, within torch's it gives a wrong gradient without a word,
and here the right one.  And the watch over inference operands, a mode that a backward takes off, is put on again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import get_device_states, set_device_states

from .autograd import normal
from .operands import CloneInferenceOperands
from .saved import CopyBeforeWrite, Saved


class Recomputed:
    """A block's ``forward``, of which a gradient keeps the tensors among the arguments, and no more."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward
        self.overwrites = False  # whether it changes in place what was saved

    @torch.compiler.disable(recursive=False)
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        values = (*args, *kwargs.values())
        # a list is what blocks hand on to each other, as those of a video VAE do their cache: not to be gone through
        # twice
        if not any(map(_in_a_graph, values)) or any(isinstance(each, list) for each in values):
            return self._forward(*args, **kwargs)
        names = list(kwargs)

        def run(*values: Any) -> Any:
            own = [each.clone() if isinstance(each, Tensor) else each for each in values]  # it may change its input
            return self._forward(*own[: len(args)], **dict(zip(names, own[len(args) :], strict=True)))

        saved = _Saved(self, run, tuple(map(_own, values)))
        with saved_tensors_hooks(saved.pack, saved.unpack):
            return run(*saved.values())


class _Saved:
    """What the backward of one call asks for: numbers at first, and the tensors when it asks for one of them."""

    def __init__(self, block: Recomputed, run: Callable[..., Any], values: tuple) -> None:
        self._block, self._run = block, run
        self._rest = [None if isinstance(each, Tensor) else each for each in values]
        tensors = [each for each in values if isinstance(each, Tensor)]
        self._conditions = _Conditions(tensors)
        self._node = _Inputs.apply(torch.empty(0, requires_grad=True), *tensors).grad_fn
        self._places = [i for i, each in enumerate(values) if isinstance(each, Tensor)]
        self._graphs = tensors  # until the first call is done
        self._count = 0
        self._tensors: dict[int, Tensor] = {}

    def values(self) -> list[Any]:
        """For the first call, with the graph that they are in."""
        graphs, self._graphs = self._graphs, []
        return self._merged(graphs)

    def pack(self, tensor: Tensor) -> int:
        self._count += 1
        return self._count - 1

    def unpack(self, number: int) -> Tensor:
        if number not in self._tensors:
            self._tensors = dict(enumerate(self._compute()))
        return self._tensors.pop(number)  # so that nothing outlives this backward, and another one computes again

    def _compute(self) -> list[Tensor]:
        saved, changed = self._again(CopyBeforeWrite() if self._block.overwrites else None)
        if changed:
            self._block.overwrites = True
            saved, _ = self._again(CopyBeforeWrite())
        if len(saved) != self._count:
            raise RuntimeError(
                f"A block of the model saved {self._count} tensors for its backward, and {len(saved)} when it was "
                "computed again: something in it acts differently from call to call. Choose another gradient than "
                "checkpointed."
            )
        return saved

    def _again(self, copies: CopyBeforeWrite | None) -> tuple[list[Tensor], bool]:
        """What was saved this time, and whether some of it was changed afterwards, by which it is lost."""
        saved: list[Saved] = []
        versions: list[int] = []

        def keep(tensor: Tensor) -> None:
            if len(saved) < self._count:
                saved.append(copies.hold(tensor.detach()) if copies else Saved(tensor.detach()))
                versions.append(tensor._version)
            if len(saved) == self._count:
                raise _Enough

        inputs = [each.detach().requires_grad_(each.requires_grad) for each in self._node.saved_tensors]
        with ExitStack() as stack:
            stack.enter_context(self._conditions.restored())
            if copies:
                stack.enter_context(copies)
            stack.enter_context(torch.enable_grad())
            stack.enter_context(saved_tensors_hooks(keep, _never))
            with suppress(_Enough):
                self._run(*self._merged(inputs))
        tensors = [each.tensor for each in saved]
        changed = any(each._version != version for each, version in zip(tensors, versions, strict=True))
        return tensors, changed and copies is None

    def _merged(self, tensors: list[Tensor]) -> list[Any]:
        values = list(self._rest)
        for place, tensor in zip(self._places, tensors, strict=True):
            values[place] = tensor
        return values


class _Enough(Exception):
    """All that the backward asks for is there: the rest of the block is not computed."""


def _never(packed: None) -> Tensor:
    raise AssertionError("the graph of a recomputation has no backward")


class _Inputs(torch.autograd.Function):
    """Holds a call's tensors as autograd holds what it saves: freed with the graph, and their versions watched."""

    @staticmethod
    def forward(ctx: Any, root: Tensor, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return root.new_empty(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise AssertionError("nothing follows from it")


class _Conditions:
    """What a call depends on beside its arguments: random numbers, autocast, the watch over operands."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._cpu = torch.get_rng_state()
        self._device = next((each.device.type for each in tensors if each.device.type != "cpu"), "cpu")
        module = getattr(torch, self._device, None)
        self._devices: list = []
        if self._device != "cpu" and getattr(module, "_initialized", self._device != "cuda"):
            self._devices, self._states = get_device_states(*tensors)
        self._autocast = {
            kind: {
                "dtype": torch.get_autocast_dtype(kind),
                "enabled": torch.is_autocast_enabled(kind),
                "cache_enabled": torch.is_autocast_cache_enabled(),
            }
            for kind in {"cpu", self._device}
            if torch.amp.is_autocast_available(kind)
        }
        self._watched = CloneInferenceOperands.is_on()

    @contextmanager
    def restored(self) -> Iterator[None]:
        with ExitStack() as stack:
            if self._devices:
                stack.enter_context(torch.random.fork_rng(self._devices, device_type=self._device))
                set_device_states(self._devices, self._states, device_type=self._device)
            else:
                stack.enter_context(torch.random.fork_rng([]))
            torch.set_rng_state(self._cpu)
            for kind, settings in self._autocast.items():
                stack.enter_context(torch.autocast(kind, **settings))
            if self._watched:
                stack.enter_context(CloneInferenceOperands())
            yield


def _in_a_graph(value: Any) -> bool:
    return torch.is_grad_enabled() and isinstance(value, Tensor) and value.requires_grad


def _own(value: Any) -> Any:
    """The host writes into its options, from block to block, which one comes; inference tensors cannot be saved."""
    return normal(value) if isinstance(value, Tensor) else dict(value) if type(value) is dict else value
