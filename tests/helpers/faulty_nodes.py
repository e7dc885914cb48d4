"""A node pack for servers under test: nodes that fail as machines do, and that give what no node should.

A server loads it as `custom_nodes/faulty_nodes.py`, see `servers.write_faulty_nodes`.
"""

from __future__ import annotations

import copy
import gc
import math

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP

TOO_MANY = 1 << 48  # bytes: more than a process can address, so that the allocator itself refuses
PHASES = ["load", "forward", "backward"]


class AnyType(str):
    """The type of a socket that fits every other, as packs with switches have it."""

    def __ne__(self, other: object) -> bool:
        return False


ANY = AnyType("*")


class Countdown:
    """Runs out of memory at the n-th call, and at all after it."""

    def __init__(self, calls: int):
        self.calls = calls

    def __call__(self) -> None:
        self.calls -= 1
        if self.calls < 0:
            torch.empty(TOO_MANY, dtype=torch.uint8)


class FailInBackward(torch.autograd.Function):
    @staticmethod
    def forward(context, value, count):
        context.count = count
        return value.view_as(value)

    @staticmethod
    def backward(context, *gradients):
        context.count()
        return gradients[0], None


def failing(value: torch.Tensor, phase: str, count: Countdown) -> torch.Tensor:
    if phase == "backward":
        return FailInBackward.apply(value, count)
    count()
    return value


class Faulty:
    FUNCTION, CATEGORY = "run", "test"
    PARAMETERS = {"phase": (PHASES,), "after": ("INT", {"default": 0})}

    @classmethod
    def IS_CHANGED(cls, **_):
        return math.nan


class FaultyModel(Faulty):
    """A MODEL for whose work the memory does not last."""

    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), **cls.PARAMETERS}}

    def run(self, model, phase, after):
        model, count = model.clone(), Countdown(after)
        if phase == "load":
            comfy.model_management.unload_all_models()  # else it need not be loaded
            model.add_callback(CallbacksMP.ON_LOAD, lambda *_: count())
        else:
            model.set_model_unet_function_wrapper(
                lambda apply, args: failing(apply(args["input"], args["timestep"], **args["c"]), phase, count)
            )
        return (model,)


class FaultyVAE(Faulty):
    RETURN_TYPES = ("VAE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"vae": ("VAE",), **cls.PARAMETERS}}

    def run(self, vae, phase, after):
        count, broken = Countdown(after), copy.copy(vae)
        network = copy.deepcopy(vae.first_stage_model)
        decode = network.decode
        network.decode = lambda *inputs, **options: failing(decode(*inputs, **options), phase, count)
        broken.first_stage_model = network
        broken.patcher = ModelPatcher(network, load_device=vae.device, offload_device=vae.patcher.offload_device)
        return (broken,)


class FaultyDiscriminator(Faulty):
    RETURN_TYPES = ("RECTIFID_DISCRIMINATOR",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"discriminator": ("RECTIFID_DISCRIMINATOR",), **cls.PARAMETERS}}

    def run(self, discriminator, phase, after):
        with torch.inference_mode(False):  # as the pack's own loaders make it
            broken, count = copy.deepcopy(discriminator), Countdown(after)
        for network in broken.networks:
            network.register_forward_hook(lambda module, inputs, output: failing(output, phase, count))
        return (broken,)


class Unload:
    """Passes on what it gets, after every model of the host was sent away, as memory savers of other packs do."""

    FUNCTION, CATEGORY, RETURN_TYPES = "run", "test", (ANY,)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}}

    def run(self, value):
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()
        gc.collect()
        return (value,)


class CountModels(Faulty):
    """Shows how many models the host holds as loaded."""

    OUTPUT_NODE, RETURN_TYPES = True, ()

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"after": (ANY,)}}

    def run(self, after):
        comfy.model_management.cleanup_models_gc()
        return {"ui": {"models": [len(comfy.model_management.current_loaded_models)]}}


JUNK = {
    "nothing": None,
    "text": "nope",
    "number": 7,
    "nan": math.nan,
    "infinite": math.inf,
    "list": [1, "two", None],
    "dict": {"samples": 1},
    "image": torch.zeros(1, 64, 64, 3),
    "nan image": torch.full((1, 64, 64, 3), math.nan),
    "image of 0 to 255": torch.full((1, 64, 64, 3), 255.0),
    "whole numbers": torch.zeros(1, 64, 64, 3, dtype=torch.int64),
    "no images": torch.zeros(0, 64, 64, 3),
    "tiny image": torch.zeros(1, 1, 1, 3),
    "thin image": torch.zeros(1, 4096, 8, 3),
    "channels first": torch.zeros(1, 3, 64, 64),
    "many channels": torch.zeros(1, 64, 64, 7),
    "scalar": torch.zeros(()),
    "vector": torch.zeros(5),
    "complex": torch.zeros(1, 64, 64, dtype=torch.complex64),
    "mask": torch.ones(1, 64, 64),
    "no mask": torch.zeros(1, 0, 0),
    "nan mask": torch.full((1, 64, 64), math.nan),
    "latent": {"samples": torch.zeros(1, 16, 8, 8)},
    "latent of another model": {"samples": torch.ones(1, 4, 8, 8)},
    "video latent": {"samples": torch.zeros(1, 16, 1, 8, 8)},
    "no latents": {"samples": torch.zeros(0, 16, 8, 8)},
    "nan latent": {"samples": torch.full((1, 16, 8, 8), math.nan)},
    "no conditioning": [],
    "conditioning": [[torch.zeros(1, 8, 192), {"pooled_output": torch.zeros(1, 192)}]],
    "conditioning without pooled": [[torch.zeros(1, 8, 192), {}]],
    "conditioning of another model": [[torch.zeros(1, 77, 768), {}]],
    "conditioning of another width": [[torch.zeros(1, 8, 100), {"pooled_output": torch.zeros(1, 192)}]],
    "pooled of another width": [[torch.zeros(1, 8, 192), {"pooled_output": torch.zeros(1, 100)}]],
    "nan conditioning": [[torch.full((1, 8, 192), math.nan), {"pooled_output": torch.full((1, 192), math.nan)}]],
}


class Give:
    """Gives a piece of junk by its name, to any input."""

    FUNCTION, CATEGORY, RETURN_TYPES = "run", "test", (ANY,)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"key": (list(JUNK),)}}

    @classmethod
    def IS_CHANGED(cls, key):
        return math.nan

    def run(self, key):
        return (copy.deepcopy(JUNK[key]),)


class End:
    """An output node for anything."""

    FUNCTION, CATEGORY, RETURN_TYPES, OUTPUT_NODE = "run", "test", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}}

    def run(self, value):
        return {}


NODE_CLASS_MAPPINGS = {
    "TestFaultyModel": FaultyModel,
    "TestFaultyVAE": FaultyVAE,
    "TestFaultyDiscriminator": FaultyDiscriminator,
    "TestUnload": Unload,
    "TestCountModels": CountModels,
    "TestGive": Give,
    "TestEnd": End,
}
