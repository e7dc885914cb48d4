"""Lets autograd run through models that the host loaded for inference, and leaves them as they were.

Nodes run under ``torch.inference_mode``: the parameters of MODEL and VAE, and every conditioning, are inference
tensors, which autograd refuses to save.  `differentiable` puts normal tensors over the same storage in the parameters'
place, for as long as it lasts and without a copy; conditionings are small, and cloned (`normal`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.conds
import comfy.model_management
import torch
from comfy.text_encoders.llama import TransformerBlock
from torch import Tensor, nn

from .fused import register_gradients
from .operands import CloneInferenceOperands
from .patches import overrides_in


@contextmanager
def differentiable(models: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, autograd runs through ``models``, which the host has loaded; afterwards they are as they were."""
    register_gradients()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        if hasattr(comfy.model_management, "in_training"):
            stack.enter_context(attribute(comfy.model_management, "in_training", True))
        # streamed weights share a buffer, which the next layer overwrites
        stack.enter_context(attribute(comfy.model_management, "NUM_STREAMS", 0))
        for model in models:
            for module in model.modules():
                _prepare(module, stack)
            if hasattr(model, "latent_format"):
                _put_normal_tensors(vars(model.latent_format), stack)
        if any(next(overrides_in(model), None) or _has_language_model(model) for model in models):
            stack.enter_context(CloneInferenceOperands())  # overrides have tensors of their own, as patches have
        yield


def _has_language_model(model: nn.Module) -> bool:
    """Whether it has blocks of one, as HiDream-O1 does, which write their sum into their argument (``out=``)."""
    return any(isinstance(module, TransformerBlock) for module in model.modules())


def _prepare(module: nn.Module, stack: ExitStack) -> None:
    for tensors in (module._parameters, module._buffers, vars(module)):
        _put_normal_tensors(tensors, stack)
    if isinstance(module, nn.LayerNorm):  # Flux adds in place to what the norm has saved
        handle = module.register_forward_pre_hook(_clone_input)
        stack.callback(handle.remove)
    if getattr(module, "_full_precision_mm", True) is False and not hasattr(comfy.model_management, "in_training"):
        # a product of quantised numbers rounds its input, which has no gradient; newer hosts bring their own
        stack.enter_context(attribute(module, "_full_precision_mm", True))


def _clone_input(module: nn.Module, args: tuple) -> tuple | None:
    return (args[0].clone(), *args[1:]) if torch.is_grad_enabled() else None


def _put_normal_tensors(tensors: dict[str, Any], stack: ExitStack) -> None:
    for name, tensor in list(tensors.items()):
        if isinstance(tensor, Tensor) and (tensor.is_inference() or tensor.requires_grad):
            alias = _alias(tensor)
            tensors[name] = alias
            stack.callback(_put_back, tensors, name, alias, tensor)


def _put_back(tensors: dict[str, Any], name: str, alias: Tensor, original: Tensor) -> None:
    if tensors.get(name) is alias:  # else the host has changed the weight meanwhile, and knows better
        tensors[name] = original


def _alias(tensor: Tensor) -> Tensor:
    """A normal, frozen tensor over the storage of ``tensor``, of its class and with its attributes."""
    if hasattr(tensor, "__tensor_flatten__"):  # the host's quantised tensors hold plain ones
        quantised: Any = tensor
        names, context = quantised.__tensor_flatten__()
        parts = {name: _alias(getattr(tensor, name)) for name in names}
        alias = type(quantised).__tensor_unflatten__(parts, context, tensor.shape, tensor.stride())
    else:
        alias = _over_the_same_storage(tensor)
    if isinstance(tensor, nn.Parameter) and not isinstance(alias, nn.Parameter):
        alias = nn.Parameter(alias, requires_grad=False)
    for name, value in vars(tensor).items():  # notes of the host on its weights, or how a loader packed them
        vars(alias).setdefault(name, value)
    return alias


def _over_the_same_storage(tensor: Tensor) -> Tensor:
    """Of the size of the storage's numbers: a subclass may tell another shape (GGUF's that of the unpacked weight)."""
    with torch._C.DisableTorchFunctionSubclass():  # what a subclass makes of its own methods does not count here
        alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        size, stride = Tensor.size(tensor), Tensor.stride(tensor)
        alias.set_(Tensor.untyped_storage(tensor), Tensor.storage_offset(tensor), size, stride)
        if type(tensor) in (Tensor, nn.Parameter):
            return alias
        alias = alias.as_subclass(type(tensor))
        vars(alias).update(vars(tensor))
        return alias


@contextmanager
def attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Inside, this attribute has this value."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def normal(value: Any) -> Any:
    """``value`` with its inference tensors cloned: a tensor, or the host's conditionings, nested as they are."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, comfy.conds.CONDRegular):
        return value._copy_with(normal(value.cond))
    if type(value) is dict:
        return {key: normal(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(normal(each) for each in value)
    return value
