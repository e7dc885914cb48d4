"""The fused operators of newer hosts have the gradient of the same in plain torch."""

from __future__ import annotations

import pytest
import torch

plain = pytest.importorskip("comfy_kitchen.backends.eager.rope", reason="this host has no fused operators")

QUERY, KEY, WIDTH = (1, 5, 4, 16), (1, 5, 2, 16), 16
OPERATORS = {
    "apply_rope": (QUERY, KEY),
    "apply_rope1": (QUERY,),
    "apply_rope_split_half": (QUERY, KEY),
    "apply_rope_split_half1": (QUERY,),
    "rms_rope": (QUERY, KEY),
    "rms_rope1": (QUERY,),
    "rms_rope_split_half": (QUERY, KEY),
    "rms_rope_split_half1": (QUERY,),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_its_gradient_is_that_of_plain_torch(pack, name):
    if not hasattr(plain, f"_op_{name}"):
        pytest.skip(f"this host has no {name}")
    pack("nodes.host.gradient.fused").register_gradients()
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode(False):
        inputs = [torch.randn(shape, generator=generator) for shape in OPERATORS[name]]
        weights = [torch.randn(shape, generator=generator) for shape in OPERATORS[name]]
        angles = torch.rand(1, 5, 1, WIDTH // 2, generator=generator)
        turned = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], dim=-1).unflatten(-1, (2, 2))
        scales = [torch.rand(WIDTH, generator=generator) + 0.5 for _ in inputs] if name.startswith("rms") else []

        def gradients(operator):
            asked = [each.clone().requires_grad_() for each in inputs]
            outputs = operator(*asked, turned, *scales)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return torch.autograd.grad(outputs, asked, weights)

        fused, expected = gradients(getattr(torch.ops.comfy_kitchen, name)), gradients(getattr(plain, name))
    for ours, theirs in zip(fused, expected, strict=True):
        assert theirs.norm() > 1
        torch.testing.assert_close(ours, theirs)
