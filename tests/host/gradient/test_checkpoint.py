"""Checkpointed blocks: the same gradient, with less memory."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import comfy.controlnet
import comfy.sd
import pytest
import torch
from torch import nn

import nodes as host_nodes
from tests.helpers.benchmarks import benchmark
from tests.helpers.families import FAMILIES, kl_vae, video_vae
from tests.helpers.jobs import flow_state
from tests.helpers.small_networks import control_net

cost = benchmark("counting").cost

DEEP = {"depth": 4, "depth_single_blocks": 4}
NATIVE = {
    "flux_schnell": DEEP,
    "flux2_klein": DEEP,
    "chroma": DEEP,
    "qwen_image": {"num_layers": 6},
    "lumina2": {"n_layers": 6},
    "z_image": {"n_layers": 6},
    "auraflow": {"n_double_layers": 3, "n_layers": 6},
}


def control():
    network = control_net()
    generator = torch.Generator().manual_seed(4)
    state = {name: 0.03 * torch.randn(w.shape, generator=generator) for name, w in network.state_dict().items()}
    return comfy.controlnet.load_controlnet_state_dict(state, model_options={"dtype": torch.float32})


@pytest.fixture(params=["sd3", "unet", *NATIVE])
def deep(request, pack, job):
    """The job with a network of several blocks: the host's MMDiT, its UNet with a ControlNet, or a native flow's."""
    if request.param == "sd3":
        job.model = pack("nodes.host.networks.demo").flow_from_state(flow_state(depth=6))
        job.latent = {"samples": torch.zeros(1, 16, 16, 16)}
    elif request.param == "unet":
        job = request.getfixturevalue("unet")
        job.latent = {"samples": torch.zeros(1, 4, 16, 16)}
        hint = torch.rand(1, 128, 128, 3)
        job.positive, job.negative = host_nodes.ControlNetApplyAdvanced().apply_controlnet(
            job.positive, job.negative, control(), hint, 0.9, 0.0, 1.0
        )
    else:
        family = FAMILIES[request.param]
        if request.param == "flux2_klein" and family.detect().unet_config["num_heads"] != 24:
            pytest.skip("this host knows FLUX.2 in the width of dev only")
        job.model = replace(family, widths={**family.widths, **NATIVE[request.param]}).load()
        job.vae = family.vae()
        job.positive, job.negative = family.conditioning(7, seed=1), family.conditioning(5, seed=2)
        job.latent = {"samples": torch.zeros(1, family.channels, 16, 16)}
    return job


def test_the_gradient_is_the_same_and_takes_less(deep, pack, brightness, look_inside):
    """To 1e-5 of its norm; one window, of cond and uncond together."""
    gradients, peaks = [], []
    checkpointed = pack("nodes.host.gradient.checkpoint").checkpointed

    def probe(flow, decode, energy, z0, **settings):
        def window():
            z = z0.detach().requires_grad_()
            with torch.enable_grad():
                return torch.autograd.grad(flow.step(0, z), z, torch.ones_like(z))[0]

        windowed = pack("rectifid_core.solver.gradient").windowed
        for networks in ([], [deep.model.model, deep.vae.first_stage_model, *controls(deep)]):
            with checkpointed(networks):
                gradients.append(windowed(flow, decode, energy, z0, [torch.zeros_like(z0)] * len(flow), 0)[3])
                peaks.append(cost(window).bytes)

    look_inside(probe)
    deep.guide(energy=brightness, iterations=1, steps=2, cfg=3.0)
    for plain, less in zip(*gradients, strict=True):
        assert (plain - less).norm() < 1e-5 * plain.norm()
    assert gradients[0][0].norm() > 1e-2
    assert peaks[1] < 0.6 * peaks[0]


# What a network of each family of that depth consists of; a block may hold lists of its own (Qwen-Image's norms and
# attentions, HiDream's experts), and so may what is no block.
COUNTS = {
    "sd3": ({}, 2),
    "flux_schnell": (DEEP, 8),
    "flux_dev": (DEEP, 8),
    "flux2_dev": (DEEP, 8),
    "flux2_klein": (DEEP, 8),
    "lumina2": ({"n_layers": 6}, 6 + 2),  # and two refiners
    "z_image": ({"n_layers": 6}, 6 + 2),
    "qwen_image": ({"num_layers": 6}, 6),
    "auraflow": ({"n_double_layers": 3, "n_layers": 6}, 6),
    "chroma": (DEEP, 8 + 2),  # and two layers that tell all of them how to act
    "hidream": ({"num_layers": 2, "num_single_layers": 3}, 5 + 6),  # and a projection of the text for each, and one
}


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_counted_as_a_block_is_what_is_computed_again(pack, name):
    checkpoint, (widths, count) = pack("nodes.host.gradient.checkpoint"), COUNTS[name]
    family = FAMILIES[name]
    if name == "flux2_klein" and family.detect().unet_config["num_heads"] != 24:
        pytest.skip("this host knows FLUX.2 in the width of dev only")
    network = replace(family, widths={**family.widths, **widths}).load().model.diffusion_model
    blocks = checkpoint.blocks_of(network)
    assert len(blocks) == count
    with checkpoint.checkpointed([network]):
        assert {module for module in network.modules() if "forward" in vars(module)} == set(blocks)


def test_the_memory_of_a_gradient_grows_with_its_blocks_not_with_the_lists_in_them(pack, job):
    """Qwen-Image's, whose lists hold nine times as many entries as it has blocks."""
    memory, family = pack("nodes.host.gradient.memory"), FAMILIES["qwen_image"]
    guider = SimpleNamespace(conds={})
    sizes = []
    for layers in (6, 12):
        guider.model_patcher = replace(family, widths={**family.widths, "num_layers": layers}).load()
        needs = memory.Needs(guider, family.vae(), torch.Size([1, 16, 64, 64]))
        graphs = needs.of(memory.plans_of("full", 4)[0]) - needs.of(memory.STRAIGHT)
        sizes.append(graphs / needs._forward)
    assert sizes[0] == pytest.approx(4 * 6 * memory._BLOCK)
    assert sizes[1] == pytest.approx(2 * sizes[0])


def controls(job):
    return [each.control_model for _, options in job.positive if (each := options.get("control"))]


@pytest.mark.parametrize(("make", "share"), [(lambda: kl_vae(16), 0.9), (video_vae, 1.0)], ids=["kl", "video"])
def test_a_decoder(pack, make, share):
    vae = make()
    network = vae.first_stage_model
    gradients, peaks = [], []
    with pack("nodes.host.gradient.autograd").differentiable([network]):
        shape = (1, 16, 12, 12) if vae.latent_dim == 2 else (1, 16, 1, 12, 12)
        z = torch.randn(shape, generator=torch.Generator().manual_seed(3)).requires_grad_()

        def gradient():
            return torch.autograd.grad(network.decode(z).square().sum(), z)[0]

        for networks in ([], [network]):
            with pack("nodes.host.gradient.checkpoint").checkpointed(networks):
                gradients.append(gradient())
                peaks.append(cost(gradient).bytes)
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[0].norm()
    assert peaks[1] <= share * peaks[0]


class Block(nn.Module):
    """Changes its input in place, and reads which block it is."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x, options, order=None):
        x += options["block"] * torch.tanh(self.inner(x.clone()))
        if order is not None:
            order.append(options["block"])
        return x


class Chain(nn.Module):
    def __init__(self, order=None):
        super().__init__()
        torch.manual_seed(1)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.order = order

    def forward(self, x):
        x, options = 1 * x, {}
        for number, block in enumerate(self.blocks):
            options["block"] = number + 1.0
            x = block(x, options, self.order)
        return x


@pytest.fixture
def chain_gradient(pack):
    def of(chain, networks):
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            pack("nodes.host.gradient.checkpoint").checkpointed(networks),
        ):
            x = torch.linspace(0, 1, 8).requires_grad_()
            return torch.autograd.grad(chain(x).sum(), x)[0]

    with torch.inference_mode(False):
        yield of


def test_a_block_runs_again_with_the_options_that_it_had(chain_gradient):
    chain = Chain()
    torch.testing.assert_close(chain_gradient(chain, [chain]), chain_gradient(chain, []), rtol=0, atol=0)


def test_a_block_that_hands_on_a_list_runs_once(chain_gradient):
    chain = Chain(order=[])
    chain_gradient(chain, [chain])
    assert chain.order == [1.0, 2.0, 3.0]


def test_afterwards_the_blocks_are_as_before(pack):
    chain = Chain()
    mine = chain.blocks[1].forward = lambda x, options, order: 2 * x
    with pytest.raises(KeyError), pack("nodes.host.gradient.checkpoint").checkpointed([chain]):
        assert all("forward" in vars(block) for block in chain.blocks)
        raise KeyError
    assert [vars(block).get("forward") for block in chain.blocks] == [None, mine, None]
