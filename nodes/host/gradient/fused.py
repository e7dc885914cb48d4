"""Gradients for operators of newer hosts that compute several steps in one: rotary positions, a norm before them.

The host's package comfy_kitchen brings them without a gradient.  Most of the host's models take plain torch in their
place where something is trained, some do not (ERNIE-Image, Anima); torch asks for a registered formula there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.library import CustomOpDef  # pyright: ignore[reportPrivateImportUsage] - as torch documents it


@cache
def register_gradients() -> None:
    """Gives those of these operators a gradient that the host has, and that have none; once."""
    try:  # the same in plain torch, a function for each operator
        plain = importlib.import_module("comfy_kitchen.backends.eager.rope")
    except ImportError:  # a host without the package
        return
    for definition in list(vars(plain).values()):
        if not isinstance(definition, CustomOpDef) or getattr(definition, "_backward_fn", None):
            continue
        name = definition._qualname.partition("::")[2]
        if not name.endswith("_") and hasattr(plain, name):  # those that end so change their arguments
            definition.register_autograd(_backward_of(getattr(plain, name)), setup_context=_keep)


def _keep(ctx: Any, inputs: tuple, output: Any) -> None:
    ctx.save_for_backward(*(each for each in inputs if isinstance(each, Tensor)))
    ctx.others = [None if isinstance(each, Tensor) else (each,) for each in inputs]


def _backward_of(plain: Callable) -> Callable:
    def backward(ctx: Any, *gradients: Tensor) -> tuple:
        tensors = iter(ctx.saved_tensors)
        inputs = [next(tensors) if other is None else other[0] for other in ctx.others]
        wanted = [place for place, needs in enumerate(ctx.needs_input_grad) if needs]
        with torch.enable_grad():
            for place in wanted:
                inputs[place] = inputs[place].detach().requires_grad_()
            outputs = plain(*inputs)
            found = torch.autograd.grad(outputs, [inputs[place] for place in wanted], gradients, allow_unused=True)
        answer: list[Tensor | None] = [None] * len(inputs)
        for place, gradient in zip(wanted, found, strict=True):
            answer[place] = gradient
        return tuple(answer)

    return backward
