"""LoRAs, regions, ControlNet, patches and caches of the host work with the guided sampler."""

from types import SimpleNamespace

import comfy.controlnet
import comfy.hooks
import comfy.model_management
import comfy.model_patcher
import pytest
import torch
from comfy_extras.nodes_torch_compile import TorchCompileModel
from torch import nn

import nodes as host_nodes

QKV = "joint_blocks.0.x_block.attn.qkv.weight"


def lora(job):
    weight = job.model.model.diffusion_model.state_dict()[QKV]
    return {f"diffusion_model.{QKV}": ("diff", (0.2 * torch.randn(weight.shape),))}


def test_a_lora_changes_the_picture_and_is_gone_afterwards(job):
    plain_before = job.ksampler()
    patched = job.model.clone()
    patched.add_patches(lora(job), 1.0)
    before = job.ksampler(patched)

    guided, _ = job.guide(patched)
    assert torch.equal(job.guide(patched, iterations=0)[0], before)
    assert torch.equal(job.ksampler(patched), before)
    assert torch.equal(job.ksampler(), plain_before)
    assert (guided - job.guide()[0]).abs().max() > 1e-3


def hooked(job):
    hooks = comfy.hooks.create_hook_lora(lora=None, strength_model=1.0, strength_clip=0.0)
    for hook in hooks.hooks:
        hook.weights = lora(job)
        hook.need_weight_init = False
    return hooks


def test_a_lora_hook_acts_as_in_ksampler(job):
    plain = job.ksampler()
    job.positive = [[context, {**options, "hooks": hooked(job)}] for context, options in job.positive]
    before = job.ksampler()
    assert not torch.equal(before, plain)
    assert torch.equal(job.guide(iterations=0)[0], before)
    windowed, _ = job.guide()
    full, _ = job.guide(gradient="full")
    torch.testing.assert_close(windowed, full, atol=1e-4, rtol=0)
    assert torch.equal(job.ksampler(), before)
    assert torch.equal(job.guide(iterations=0)[0], before)


def test_hooks_that_would_exchange_weights_within_a_gradient_are_refused(job):
    job.positive = [[context, {**options, "hooks": hooked(job)}] for context, options in job.positive]
    with pytest.raises(ValueError, match="hook"):
        job.guide(cfg=3.0)
    job.ksampler()


def test_two_prompts_in_two_regions_are_guided(job, parts):
    def region(text, x):
        conditioning = host_nodes.CLIPTextEncode().encode(parts.clip, text)[0]
        return host_nodes.ConditioningSetArea().append(conditioning, 32, 64, x, 0, 1.0)[0]

    job.positive = region("a red hat", 0) + region("a blue hat", 32) + job.positive
    assert torch.equal(job.guide(iterations=0)[0], job.ksampler())
    job.guide(iterations=3)
    assert job.iterates[-1].energy < job.iterates[0].energy


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_a_masked_prompt_is_guided(job, parts, cfg):
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    masked = host_nodes.CLIPTextEncode().encode(parts.clip, "a red hat")[0]
    job.positive = host_nodes.ConditioningSetMask().append(masked, mask, "default", 1.0)[0] + job.positive
    assert torch.equal(job.guide(iterations=0, cfg=cfg)[0], job.ksampler(cfg=cfg))
    job.guide(iterations=3, cfg=cfg)
    assert job.iterates[-1].energy < job.iterates[0].energy


class Control(comfy.controlnet.ControlBase):
    """A ControlNet of one layer, which the host loads and calls like any."""

    def __init__(self):
        super().__init__()
        self.patcher = comfy.model_patcher.ModelPatcher(
            nn.Conv2d(16, 128, 2, stride=2), comfy.model_management.get_torch_device(), torch.device("cpu")
        )

    def get_models(self):
        return [self.patcher]

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        tokens = self.patcher.model(x_noisy).flatten(2).transpose(1, 2)
        return {"output": [0.3 * tokens]}


def test_a_controlnet_steers_and_is_differentiated(job):
    free = job.ksampler()
    job.positive = [[context, {**options, "control": Control()}] for context, options in job.positive]
    before = job.ksampler()
    assert not torch.equal(before, free)
    assert torch.equal(job.guide(iterations=0)[0], before)
    windowed, _ = job.guide(iterations=3)
    assert job.iterates[-1].energy < job.iterates[0].energy
    torch.testing.assert_close(job.guide(iterations=3, gradient="full")[0], windowed, atol=1e-3, rtol=0)
    assert torch.equal(job.ksampler(), before)


def test_attention_is_the_hosts_unguided_and_differentiable_guided(job):
    """An override of the user's, such as sage attention, draws the picture, and is never called under autograd."""
    grad_modes = []

    def override(attention, *args, **kwargs):
        grad_modes.append(torch.is_grad_enabled())
        return attention(*args, **kwargs)

    model = job.model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    job.guide(model)
    assert grad_modes and not any(grad_modes)
    assert model.model_options["transformer_options"]["optimized_attention_override"] is override


def test_a_cache_across_steps_is_bypassed(job):
    from comfy_extras.nodes_easycache import EasyCacheNode

    cached = EasyCacheNode.execute(job.model, 10.0, 0.0, 1.0, False).result[0]
    torch.testing.assert_close(job.guide(cached)[0], job.guide()[0])


def test_a_layer_norm_may_be_followed_by_an_addition_in_place(pack):
    """As in Flux, which adds to what the norm has saved."""
    norm = nn.LayerNorm(4)
    with pack("nodes.host.gradient.autograd").differentiable([norm]), torch.enable_grad():
        leaf = torch.randn(2, 4, requires_grad=True)
        x = leaf * 1
        y = norm(x) * 2
        x += y
        assert torch.autograd.grad(x.sum(), leaf)[0].isfinite().all()


def test_weights_under_dynamic_vram_are_replaced_or_refused(pack, job):
    """What newer hosts do with NVIDIA cards cannot run here; its two outcomes can."""
    resident = pack("nodes.host.gradient.model").resident
    assert resident(job.model) is job.model
    paged = SimpleNamespace(
        model=nn.Linear(1, 1),
        is_dynamic=lambda: True,
        cached_patcher_init=None,
        get_non_dynamic_delegate=lambda: job.model,
    )
    with pytest.raises(ValueError, match="--disable-dynamic-vram"):
        resident(paged)
    paged.cached_patcher_init = (lambda: job.model, ())
    assert resident(paged) is job.model


def test_all_networks_are_loaded_in_one_call(job, monkeypatch):
    loads = []
    load_models_gpu = comfy.model_management.load_models_gpu
    monkeypatch.setattr(
        comfy.model_management,
        "load_models_gpu",
        lambda models, **options: (
            loads.append({id(each.model) for each in models}) or load_models_gpu(models, **options)
        ),
    )
    job.guide()
    networks = {id(each) for each in (job.model.model, job.vae.patcher.model, job.discriminator.network)}
    assert loads == [{id(job.model.model)}, networks], "first by the guider, then for the gradient"


def test_operands_are_cloned_for_patched_models_only(job, pack):
    has_patches = pack("nodes.host.gradient.model").has_patches
    options = []

    class Spy(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, *rest):
            options.append(extra_args["model_options"])
            return noise

    compiled = TorchCompileModel.execute(job.model, "inductor")[0]  # at its first use, which does not come
    patched = compiled.clone()
    patched.set_model_attn2_patch(lambda q, k, v, extra_options: (q, k, v))
    for model in (job.model, compiled, patched):
        comfy.sample.sample_custom(
            model,
            job.latent["samples"],
            1.0,
            Spy(),
            torch.tensor([1.0, 0.0]),
            job.positive,
            job.negative,
            job.latent["samples"],
        )
    assert [has_patches(each) for each in options] == [False, False, True]
