"""A small job as a graph would hold it, on a MODEL of the host's SD3 class with random weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import comfy.ops
import numpy as np
import onnx
import torch
from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT
from onnx import TensorProto, helper, numpy_helper

import nodes as host_nodes


def flow_state(depth: int = 2) -> dict[str, torch.Tensor]:
    network = MMDiT(
        input_size=None,
        in_channels=16,
        depth=depth,
        adm_in_channels=192,
        context_embedder_config={
            "target": "torch.nn.Linear",
            "params": {"in_features": 192, "out_features": 64 * depth},
        },
        num_patches=256,
        pos_embed_max_size=16,
        dtype=torch.float32,
        device="cpu",
        operations=comfy.ops.disable_weight_init,
    )
    generator = torch.Generator().manual_seed(1)
    return {name: 0.05 * torch.randn(w.shape, generator=generator) for name, w in network.state_dict().items()}


def write_recogniser(path: Path, size: int = 32, width: int = 16) -> Path:
    """An ONNX file of a smooth recogniser: convolution, sigmoid, projection."""
    rng = np.random.default_rng(2)
    weights = {
        "kernel": rng.normal(size=(8, 3, 5, 5)).astype(np.float32),
        "projection": rng.normal(size=(8 * (size // 2) ** 2, width)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["filtered"], strides=[2, 2], pads=[2, 2, 2, 2]),
            helper.make_node("Sigmoid", ["filtered"], ["active"]),
            helper.make_node("Flatten", ["active"], ["flat"]),
            helper.make_node("MatMul", ["flat", "projection"], ["embedding"]),
        ],
        "recogniser",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def random_state(network: torch.nn.Module, spread: float = 0.03) -> dict[str, torch.Tensor]:
    """Weights with which every layer does something; norms stay norms."""
    generator = torch.Generator().manual_seed(4)
    noise = {name: spread * torch.randn(w.shape, generator=generator) for name, w in network.state_dict().items()}
    norms = {name for name, module in network.named_modules() if type(module).__name__ in ("GroupNorm", "LayerNorm")}
    return {name: x + (name.removesuffix(".weight") in norms) for name, x in noise.items()}


class Job:
    def __init__(self, pack, parts):
        self.model = pack("nodes.host.networks.demo").flow_from_state(parts.flow_state)
        self.vae = parts.vae
        self.positive = host_nodes.CLIPTextEncode().encode(parts.clip, "a red hat")[0]
        self.negative = host_nodes.CLIPTextEncode().encode(parts.clip, "")[0]
        self.latent = host_nodes.EmptyLatentImage().generate(64, 64, 1)[0]
        self.discriminator = pack("nodes.host.networks.discriminators").load_discriminator(parts.recogniser)
        reference = pack("nodes.demo").DrawDemoPortrait.execute(3, "a person")[0]
        identity = pack("nodes.host.networks.discriminators").encode_images(self.discriminator, reference)
        self.identity = pack("rectifid_core.guidance.identity").IdentityGuidance(identity, self.discriminator)
        self.guidance = self.identity
        self._sampler = pack("nodes.host.run.sampler")
        self.iterates, self.stuck = [], []

    def ksampler(self, model=None, **changes):
        """The latent of the host's KSampler."""
        settings = {"cfg": 1.0, "scheduler": "simple", "denoise": 1.0, **changes}
        latent = host_nodes.common_ksampler(
            model or self.model,
            5,
            3,
            settings["cfg"],
            "euler",
            settings["scheduler"],
            self.positive,
            self.negative,
            self.latent,
            denoise=settings["denoise"],
        )[0]
        return latent["samples"]

    def guide(self, model=None, vae=None, energy=None, on_iterate=None, **changes):
        """The latent and image of the guided sampler; `iterates` has what it went through."""
        drawn = {"seed": 5, "steps": 3, "cfg": 1.0, "scheduler": "simple", "denoise": 1.0}
        drawn.update({name: changes.pop(name) for name in drawn.keys() & changes.keys()})
        sampler = self.sampler(vae, energy, on_iterate, **changes)
        latent = self._sampler.sample(model or self.model, self.positive, self.negative, self.latent, sampler, **drawn)
        return latent["samples"], self.kept.image

    def sampler(self, vae=None, energy=None, on_iterate=None, **changes):
        """A SAMPLER for the host's guiders, with the settings that `guide` has."""
        settings = {
            "views": 0,
            "iterations": 2,
            "rule": "accumulated",
            "scale": 5.0,
            "scale_unit": "published",
            "gradient": "windowed",
            "keep": "last",
            **changes,
        }
        guidance = SimpleNamespace(networks=[], energy=lambda *_: energy) if energy else self.guidance
        return self._sampler.GuidedSampler(vae or self.vae, guidance, lambda: JobObserver(self, on_iterate), **settings)


class JobObserver:
    """Leaves in its job what it observes."""

    def __init__(self, job, on_iterate):
        self.job, self.also = job, on_iterate

    def on_start(self, facts):
        self.job.iterates, self.job.facts = [], facts

    def on_iterate(self, iterate, kept):
        self.job.iterates.append(iterate)
        self.job.kept = kept
        return bool(self.also and self.also(iterate, kept))

    def on_stuck(self, samples, again):
        self.job.stuck.append((samples, again))

    def on_warning(self, message):
        self.job.warning = message

    def on_end(self, state, best):
        self.job.ended = state, best
