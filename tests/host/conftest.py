"""The pack inside a real host, in this process and on the CPU.  COMFYUI_PATH names the host.

Everything is built as nodes build it, under `torch.inference_mode`, and small: a MODEL of the host's SD3 class with two
blocks, the demo's VAE and CLIP, a recogniser of one convolution; all with random weights.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from types import SimpleNamespace

import pytest
import torch

from tests.helpers.host import PACK, has_host, load_host_and_pack

if has_host():
    load_host_and_pack()
    import comfy.sd
    import folder_paths
    from comfy.taesd.taesd import TAESD
    from comfy_execution.utils import CurrentNodeContext

    from tests.helpers.jobs import Job, flow_state, random_state, write_recogniser
    from tests.helpers.small_networks import unet as small_unet
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
        defaults = {each.id: each.default for each in schema.inputs or () if hasattr(each, "default")}
        hidden = SimpleNamespace(unique_id="7", prompt=None, extra_pnginfo=None)
        monkeypatch.setattr(nodes[node_id], "hidden", hidden)
        inputs = {**defaults, **inputs}
        if schema.is_input_list:  # the host hands such a node all inputs as lists
            inputs = {name: value if isinstance(value, list) else [value] for name, value in inputs.items()}
        with CurrentNodeContext("prompt", "7"):
            return nodes[node_id].EXECUTE_NORMALIZED(**inputs)

    return execute


@pytest.fixture
def with_settings(run, nodes):
    """`with_settings(inputs)`: the same inputs, those of *Sampler Settings* as what comes from it."""
    names = {each.id for each in nodes["AnchoredSamplerSettings"].GET_SCHEMA().inputs}

    def inputs_of_a_sampler(inputs):
        chosen = {name: value for name, value in inputs.items() if name in names}
        own = {name: value for name, value in inputs.items() if name not in names}
        return {"settings": run("AnchoredSamplerSettings", **{"preset": "custom", **chosen}).result[0], **own}

    return inputs_of_a_sampler


@pytest.fixture
def sample(run, job, with_settings):
    """`sample(**changes)` runs the sampler node on the small job."""

    def sampled(**changes):
        settings = with_settings({"steps": 3, "iterations": 2, "guidance_scale": 5.0, "views": 1, **changes})
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


@pytest.fixture(scope="session")
def unet_state():
    return random_state(small_unet())


@pytest.fixture(scope="session")
def small_vae():
    network = TAESD(latent_channels=4)
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
