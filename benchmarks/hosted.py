"""The pack inside a ComfyUI, as the host imports it, in this process.  COMFYUI_PATH names the host."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
PACK = "rectifid_hosted"


def load(device: str = "auto") -> Callable[[str], ModuleType]:
    """``load()("nodes.sampling.sampler")`` is that module of the pack.

    device: "cpu", or "auto" for what the host finds.
    """
    host = os.environ["COMFYUI_PATH"]
    # the host's `nodes`, not the pack's
    sys.path[:] = [host, *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    from comfy.cli_args import args

    args.cpu = device == "cpu" or not torch.accelerator.is_available()
    args.use_pytorch_cross_attention = True  # a GPU's usual attention, on a CPU too
    import utils.extra_config  # noqa: F401  as the host's main.py does, before its nodes.py hides this package

    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py")
    sys.modules[PACK] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[PACK])
    return lambda name: importlib.import_module(f"{PACK}.{name}")


def defaults(node: type) -> dict[str, object]:
    """The values of a node's widgets, by name, as a new node has them."""
    return {each.id: each.default for each in node.define_schema().inputs if getattr(each, "default", None) is not None}


def identity_guidance(pack: Callable[[str], ModuleType], discriminator: Any, images: Iterable[Tensor]) -> Any:
    """Guidance by the identity of the host's images, ``(H, W, 3)`` each, as *Encode Reference Identity* gives it."""
    identity = pack("nodes.host.networks.discriminators").encode_images(discriminator, images)
    return pack("rectifid_core.guidance.identity").IdentityGuidance(identity, discriminator)


def at_the_solver(pack: Callable[[str], ModuleType], run: Callable[[], object], probe: Callable) -> Any:
    """Begins the guided ``run``, and where its solver would start ends it with the answer of ``probe``, its result.

    probe: called as the solver, with the flow, the decoder, the energy, the latent, and its settings by name.
    """

    def solve(*arguments, **settings):
        raise _Answer(probe(*arguments, **settings))

    with pack("nodes.host.gradient.autograd").attribute(pack("nodes.host.run.sampler"), "solve", solve):
        try:
            run()
        except _Answer as answer:
            return answer.args[0]


class _Answer(Exception):
    pass
