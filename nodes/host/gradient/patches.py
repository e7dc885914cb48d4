"""What other nodes have put into a MODEL, by names that its user knows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY
from torch import nn

_OURS = __name__.partition(".nodes.")[0]


def functions_in(options: Any) -> Iterator[Callable]:
    """The functions of other nodes in a run's options: but for the compiled network and what guidance itself adds."""
    if isinstance(options, dict):
        for key, each in options.items():
            if key != COMPILE_KEY:
                yield from functions_in(each)
    elif isinstance(options, list | tuple):
        for each in options:
            yield from functions_in(each)
    elif callable(options) and not _is_ours(options):
        yield options


def overrides_in(network: nn.Module) -> Iterator[tuple[str, nn.Module, str, Callable]]:
    """Methods that other nodes set on modules themselves: where, its name, and what took the place of the class's."""
    for path, module in network.named_modules():
        if type(module).__module__.startswith("torch._dynamo"):
            continue  # a compiled network, whose method is torch's
        for name, value in vars(module).items():
            if callable(value) and isinstance(getattr(type(module), name, None), FunctionType) and not _is_ours(value):
                yield path, module, name, value


def names_of_patches(options: dict[str, Any], patcher: ModelPatcher) -> list[str]:
    """Each once: of functions and methods their place in the code, of replaced objects theirs in the model."""
    names = [_name(each) for each in functions_in(options)]
    names += [_name(method) for _, _, _, method in overrides_in(patcher.model)]
    names += [f"the replaced {key}" for key in patcher.object_patches if key != "model_sampling"]
    return list(dict.fromkeys(names))


@contextmanager
def overrides_carried(network: nn.Module, twin: nn.Module) -> Iterator[None]:
    """Inside, ``twin``, the same network loaded anew, has the methods and attributes that were set on modules.

    Raises ValueError for a method that cannot be carried over, since it knows the module that it was made for.
    """
    overrides = {(path, name): method for path, _, name, method in overrides_in(network)}
    for (path, _), method in overrides.items():
        if not isinstance(method, MethodType) or method.__self__ is not network.get_submodule(path):
            raise ValueError(
                f"{_name(method)} has replaced a part of {type(network).__name__} itself. ComfyUI pages this model in "
                "and out, so that guidance runs another copy of it, which lacks that. Start ComfyUI with "
                "--disable-dynamic-vram, or take away that node."
            )
    undo: list[Callable[[], Any]] = []
    try:
        if overrides:
            _carry(network, twin, overrides, undo)
        yield
    finally:
        for each in reversed(undo):
            each()


def _carry(network: nn.Module, twin: nn.Module, overrides: dict, undo: list[Callable[[], Any]]) -> None:
    others = dict(twin.named_modules())
    for path, module in network.named_modules():
        if (other := others.get(path)) is None:
            continue  # a part of what was added above
        for name, value in vars(module).items():
            if (path, name) in overrides:
                value = MethodType(value.__func__, other)
            elif name in vars(other):
                continue  # what both have is the host's
            vars(other)[name] = value
            undo.append(lambda other=other, name=name: vars(other).pop(name, None))
        for name, value in module._modules.items():
            if name not in other._modules:
                other._modules[name] = value
                undo.append(lambda other=other, name=name: other._modules.pop(name, None))


def _name(function: Any) -> str:
    function = getattr(function, "func", function)  # of a partial
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__qualname__.replace('.<locals>', '')} ({_place(_module(function))})"


def _module(function: Any) -> str:
    function = getattr(function, "func", function)
    return getattr(function, "__module__", None) or type(function).__module__


def _is_ours(function: Any) -> bool:
    return _module(function).startswith(_OURS)


def _place(module: str) -> str:
    """The host names a pack's module by its path."""
    return os.path.basename(module.partition(".")[0]) if os.sep in module or "/" in module else module
