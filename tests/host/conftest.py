"""The pack inside a real host, in this process and on the CPU.  COMFYUI_PATH names the host.

Everything is built as nodes build it, under `torch.inference_mode`, and small: a MODEL of the host's SD3 class with two
blocks, the demo's VAE and CLIP, a recogniser of one convolution; all with random weights.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))  # nothing of the host is shadowed
import small_networks  # noqa: E402

PACK = "rectifid_under_test"  # the host makes the pack's name from its folder
HOST = os.environ.get("COMFYUI_PATH")


def load_host_and_pack(host: Path) -> None:
    # the host's `nodes`, not the pack's
    sys.path[:] = [str(host), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    from comfy.cli_args import args

    args.cpu = True
    import utils.extra_config  # noqa: F401  as main.py does, before nodes.py hides this package behind comfy/utils.py

    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py")
    sys.modules[PACK] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[PACK])


if HOST and (Path(HOST) / "comfy").is_dir():
    load_host_and_pack(Path(HOST).resolve())
    import comfy.ops
    import comfy.sd
    import comfy.taesd.taesd
    import folder_paths
    from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT
    from comfy_execution.utils import CurrentNodeContext

    import nodes as host_nodes
else:

    class WithoutHost(pytest.Module):
        def collect(self):
            pytest.skip("no host: set COMFYUI_PATH to a ComfyUI folder", allow_module_level=True)

    def pytest_pycollect_makemodule(module_path, parent):
        return WithoutHost.from_parent(parent, path=module_path)


@pytest.fixture(autouse=True)
def as_nodes_run():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def pack():
    """`pack("nodes.host.flows.flow")` is that module of the pack."""
    return lambda name: importlib.import_module(f"{PACK}.{name}")


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


@pytest.fixture(scope="session")
def parts(pack, tmp_path_factory):
    """What does not change: the state of a flow, a VAE, a CLIP, a recogniser's file."""
    torch.manual_seed(0)
    with torch.inference_mode():
        return SimpleNamespace(
            flow_state=flow_state(),
            vae=pack("nodes.host.networks.demo").vae_from_network(pack("demo.autoencoder").Autoencoder()),
            clip=pack("nodes.host.networks.demo").clip_from_network(
                pack("demo.text_encoder").TextEncoder([320, 1000, 2533])
            ),
            recogniser=write_recogniser(tmp_path_factory.mktemp("recogniser") / "recogniser.onnx"),
        )


@pytest.fixture
def job(pack, parts):
    """A small job as a graph would hold it; `job.guide(...)` and `job.ksampler(...)` run it with changes."""
    return Job(pack, parts)


@pytest.fixture
def brightness(pack):
    """An energy that is exact in float64, so that a finite difference of it means something."""
    Observation = pack("rectifid_core.interfaces").Observation

    def energy(image, iteration):
        value = ((image.double() - 0.3) ** 2).flatten(1).sum(dim=1)
        return Observation(value, value.detach().float())

    return energy


@pytest.fixture
def look_inside(pack, monkeypatch):
    """`look_inside(probe)`: the next guided run calls ``probe(flow, decode, energy, z0)`` where the solver starts."""
    sampler = pack("nodes.host.run.sampler")
    solve = sampler.solve

    def look(probe):
        def probed(flow, decode, energy, z0, **settings):
            probe(flow, decode, energy, z0)
            return solve(flow, decode, energy, z0, **settings)

        monkeypatch.setattr(sampler, "solve", probed)

    return look


class Job:
    def __init__(self, pack, parts):
        self.model = pack("nodes.host.networks.demo").flow_from_state(parts.flow_state)
        self.vae = parts.vae
        self.positive = host_nodes.CLIPTextEncode().encode(parts.clip, "a red hat")[0]
        self.negative = host_nodes.CLIPTextEncode().encode(parts.clip, "")[0]
        self.latent = host_nodes.EmptyLatentImage().generate(64, 64, 1)[0]
        self.discriminator = pack("nodes.host.networks.discriminators").load_discriminator(parts.recogniser)
        reference = pack("nodes.demo").DrawDemoPortrait.execute(3, "a person")[0]
        self.identity = pack("nodes.host.networks.discriminators").encode_images(self.discriminator, reference)
        self.guidance = pack("rectifid_core.guidance.combination").IdentityGuidance(self.identity)
        self._sampler = pack("nodes.host.run.sampler")
        self.iterates = []

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

        observer = JobObserver(self, on_iterate)

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
        guidance = SimpleNamespace(discriminators=[], energy=lambda *_: energy) if energy else self.guidance
        return self._sampler.GuidedSampler(vae or self.vae, guidance, lambda: observer, **settings)


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


@pytest.fixture
def nodes(pack):
    extension = asyncio.run(sys.modules[pack("nodes").__package__.removesuffix(".nodes")].comfy_entrypoint())
    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}


@pytest.fixture
def run(nodes, tmp_path, monkeypatch):
    """`run(node id, **inputs)` executes a node as the host does, on node 7 of a graph; widgets have their defaults."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))

    def execute(node_id, **inputs):
        schema = nodes[node_id].GET_SCHEMA()
        defaults = {each.id: each.default for each in schema.inputs if hasattr(each, "default")}
        hidden = SimpleNamespace(unique_id="7", prompt=None, extra_pnginfo=None)
        monkeypatch.setattr(nodes[node_id], "hidden", hidden)
        inputs = {**defaults, **inputs}
        if schema.is_input_list:  # the host hands such a node all inputs as lists
            inputs = {name: value if isinstance(value, list) else [value] for name, value in inputs.items()}
        with CurrentNodeContext("prompt", "7"):
            return nodes[node_id].EXECUTE_NORMALIZED(**inputs)

    return execute


@pytest.fixture
def sample(run, job):
    """`sample(**changes)` runs the sampler node on the small job."""

    def sampled(**changes):
        settings = {"steps": 3, "iterations": 2, "guidance_scale": 5.0, "views": 1, **changes}
        return run(
            "AnchoredRectifiedSampler",
            **{
                "model": job.model,
                "positive": job.positive,
                "negative": job.negative,
                "latent_image": job.latent,
                "vae": job.vae,
                "guidance": job.identity,
                "seed": 5,
                **settings,
            },
        )

    return sampled


def random_state(network: torch.nn.Module, spread: float = 0.03) -> dict[str, torch.Tensor]:
    """Weights with which every layer does something; norms stay norms."""
    generator = torch.Generator().manual_seed(4)
    noise = {name: spread * torch.randn(w.shape, generator=generator) for name, w in network.state_dict().items()}
    norms = {name for name, module in network.named_modules() if type(module).__name__ in ("GroupNorm", "LayerNorm")}
    return {name: x + (name.removesuffix(".weight") in norms) for name, x in noise.items()}


@pytest.fixture(scope="session")
def unet_state():
    return random_state(small_networks.unet())


@pytest.fixture(scope="session")
def small_vae():
    network = comfy.taesd.taesd.TAESD(latent_channels=4)
    state = random_state(network, 0.04)
    last = f"taesd_decoder.{len(network.taesd_decoder) - 1}"
    state[f"{last}.bias"] = torch.full((3,), 0.5)  # a decoder of grey pictures: nothing of them is clamped, which
    state[f"{last}.weight"] *= 0.3  # our gradient ignores and a finite difference does not
    return comfy.sd.VAE(sd=state, dtype=torch.float32)


@pytest.fixture
def unet(job, unet_state, small_vae):
    """The job with the small UNet, read as the host reads SD 1.5."""
    job.model = comfy.sd.load_diffusion_model_state_dict(dict(unet_state), model_options={"dtype": torch.float32})
    job.vae = small_vae
    generator = torch.Generator().manual_seed(6)
    job.positive, job.negative = ([[torch.randn(1, 77, 768, generator=generator), {}]] for _ in range(2))
    job.latent = {"samples": torch.zeros(1, 4, 8, 8)}
    return job
