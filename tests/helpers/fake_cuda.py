"""A fake CUDA device: tensors that know their shape, their type and their device, and have no content.

An operation on tensors of two devices fails on them as it does on a GPU.  The backward cannot be faked: in its place
`torch.autograd.grad` gives gradients of ones, since autograd itself checks devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management as management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn
from torch._subclasses import fake_impls
from torch._subclasses.fake_tensor import FakeTensorMode

from .benchmarks import benchmark

one = benchmark("counting").one

GPU = torch.device("cuda", 0)
_PLENTY = 2**36  # bytes


@contextmanager
def fake_cuda(monkeypatch, patchers: list[ModelPatcher]) -> Iterator[None]:
    """Inside, the host has a GPU, to which it loads ``patchers``, made before on the CPU; they are spoilt afterwards.

    Every number that is read from a tensor is 1, and every truth true.
    """
    management.unload_all_models()

    def memory(device: Any = None, both: bool = False, **options: bool) -> int | tuple[int, int]:
        return (_PLENTY, _PLENTY) if both or any(options.values()) else _PLENTY

    for name in ("get_free_memory", "get_total_memory"):
        monkeypatch.setattr(management, name, memory)
    monkeypatch.setattr(management, "get_torch_device", lambda: GPU)
    monkeypatch.setattr(management, "cpu_state", management.CPUState.GPU)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NORMAL_VRAM)
    monkeypatch.setattr(management, "soft_empty_cache", lambda force=False: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: GPU.index)
    monkeypatch.setattr(nn.Module, "to", _to)
    monkeypatch.setattr(torch.autograd, "grad", _ones)
    monkeypatch.setitem(
        fake_impls.op_implementations_dict,
        torch.ops.aten._local_scalar_dense.default,
        lambda mode, func, tensor: one(tensor.dtype),
    )
    for patcher in patchers:
        patcher.load_device = GPU
        patcher.model.requires_grad_(False)
    with torch.inference_mode(False), FakeTensorMode(allow_non_fake_inputs=True):
        yield
    management.current_loaded_models.clear()


def _to(module: nn.Module, *args: Any, **options: Any) -> nn.Module:
    """`nn.Module.to`, which refuses to change a tensor with content into one without."""
    device = next((each for each in args if isinstance(each, torch.device | str)), options.get("device"))
    dtype = next((each for each in args if isinstance(each, torch.dtype)), options.get("dtype"))
    for each in module.modules():
        for name, parameter in each._parameters.items():
            if parameter is not None:
                each._parameters[name] = nn.Parameter(_there(parameter, device, dtype), requires_grad=False)
        for name, buffer in each._buffers.items():
            if buffer is not None:
                each._buffers[name] = _there(buffer, device, dtype)
    return module


def _there(tensor: Tensor, device: Any, dtype: torch.dtype | None) -> Tensor:
    dtype = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    return torch.empty(tensor.shape, dtype=dtype, device=device or tensor.device)


def _ones(output: Tensor, inputs: Any, *args: Any, **options: Any) -> list[Tensor]:
    return [torch.ones_like(each) for each in ([inputs] if isinstance(inputs, Tensor) else inputs)]
