"""Behind the host's TorchCompileModel the sampler's picture and gradient are those of the plain model."""

from __future__ import annotations

from comfy_extras.nodes_torch_compile import TorchCompileModel

from tests.helpers.compiled import needs_a_compiler, same_as_plain


@needs_a_compiler
def test_the_gradient_passes_through_a_compiled_model(job):
    same_as_plain(job, lambda model: TorchCompileModel.execute(model, "inductor")[0])
