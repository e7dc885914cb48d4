"""The shipped workflows have the settings that their models were made for."""

from __future__ import annotations

import json

import comfy.sd
import pytest
import torch
from comfy.model_detection import model_config_from_diffusers_unet
from comfy.model_sampling import CONST, ModelSamplingDiscrete, ModelSamplingFlux
from comfy.samplers import calculate_sigmas
from comfy_extras.nodes_flux import Flux2Scheduler
from comfy_extras.nodes_model_merging import ModelAdd, ModelSubtract

from tests.helpers.places import ROOT

WORKFLOWS = ROOT / "workflows"


def widgets(workflow: str, node_type: str) -> list:
    graph = json.loads((WORKFLOWS / f"{workflow}.json").read_text(encoding="utf-8"))
    (node,) = (node for node in graph["nodes"] if node["type"] == node_type)
    return node["widgets_values"]


def steps_and_scheduler(workflow: str) -> tuple[int, str]:
    values = widgets(workflow, "AnchoredRectifiedSampler")
    return values[2], values[4]


@pytest.mark.parametrize("side", [256, 512, 768, 1024])
def test_klein_takes_the_steps_of_the_hosts_own_scheduler(side):
    """With the picture's size in the node, to the rounding of its shifts and of the host's table."""
    largest, smallest, _, _ = widgets("14 Face with FLUX.2 klein", "ModelSamplingFlux")
    steps, scheduler = steps_and_scheduler("14 Face with FLUX.2 klein")

    class Sampling(ModelSamplingFlux, CONST):
        pass

    sampling = Sampling()
    sampling.set_parameters(shift=smallest + (largest - smallest) * (side * side / 256 - 256) / (4096 - 256))
    sigmas = calculate_sigmas(sampling, scheduler, steps)
    torch.testing.assert_close(sigmas, Flux2Scheduler.execute(steps, side, side).args[0], atol=1e-3, rtol=0)


def test_sd_turbo_is_called_at_the_times_of_its_training():
    """Four, at even distances from the last."""
    steps, scheduler = steps_and_scheduler("17 Face with SD-Turbo")
    sampling = ModelSamplingDiscrete()
    sigmas = calculate_sigmas(sampling, scheduler, steps)
    assert [int(sampling.timestep(sigma)) for sigma in sigmas[:-1]] == [999, 749, 499, 249]


@pytest.mark.parametrize(
    ("host_class", "width", "levels", "depths", "settings"),
    [
        ("SD15", 768, 4, 1, {"attention_head_dim": 8}),
        ("SD20", 1024, 4, 1, {"attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}),
        (
            "SDXL",
            2048,
            3,
            [1, 2, 10],
            {
                "attention_head_dim": [5, 10, 20],
                "use_linear_projection": True,
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 2816,
            },
        ),
    ],
    ids=["sd15", "sd21", "sdxl"],
)
def test_load_diffusion_model_knows_the_unets_of_diffusers(host_class, width, levels, depths, settings):
    """In the real sizes, by names and shapes, as PeRFlow and InstaFlow are published."""
    diffusers = pytest.importorskip("diffusers", reason="needs the package diffusers")
    attention = [True, True, True, False] if levels == 4 else [False, True, True]  # from the largest level down
    with torch.device("meta"):
        network = diffusers.UNet2DConditionModel(
            cross_attention_dim=width,
            block_out_channels=(320, 640, 1280, 1280)[:levels],
            down_block_types=["CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention],
            up_block_types=["CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attention)],
            transformer_layers_per_block=depths,
            **settings,
        )
    assert type(model_config_from_diffusers_unet(network.state_dict())).__name__ == host_class


def test_a_finetune_is_merged_into_a_two_rectified_flow(unet, unet_state, pack):
    """By the host's nodes: the same as a network that has the sum of the weights."""

    def load(state):
        return comfy.sd.load_diffusion_model_state_dict(dict(state), model_options={"dtype": torch.float32})

    generator = torch.Generator().manual_seed(9)
    learned = {name: 0.01 * torch.randn(w.shape, generator=generator) for name, w in unet_state.items()}
    base = {name: w + 0.01 * torch.randn(w.shape, generator=generator) for name, w in unet_state.items()}
    finetune = {name: w + learned[name] for name, w in base.items()}
    (difference,) = ModelSubtract().merge(load(finetune), load(base), 1.0)
    (merged,) = ModelAdd().merge(load(unet_state), difference)
    summed = load({name: w + learned[name] for name, w in unet_state.items()})

    def guided(model):
        model = pack("nodes.host.flows.model_sampling").with_rectified_flow(model)
        return unet.guide(model=model, iterations=2, steps=2, scheduler="simple", rule="fully_anchored", scale=20.0)[0]

    expected = guided(summed)
    assert (guided(merged) - expected).norm() < 1e-3 * expected.norm()
    assert (guided(load(unet_state)) - expected).norm() > 1e-2 * expected.norm()
