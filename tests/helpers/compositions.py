"""What a user puts before the sampler: each is put into a job by the host's own nodes, on a small network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import comfy.cldm.mmdit
import comfy.clip_vision
import comfy.controlnet
import comfy.ldm.flux.controlnet
import comfy.ldm.flux.redux
import comfy.model_management
import comfy.ops
import comfy.sd
import comfy.t2i_adapter.adapter
import torch
from comfy import latent_formats
from comfy.ldm.modules.attention import optimized_attention
from comfy_extras.nodes_hooks import CreateHookLoraModelOnly, PairConditioningSetProperties
from comfy_extras.nodes_hypernetwork import HypernetworkLoader
from comfy_extras.nodes_model_merging import ModelAdd, ModelMergeBlocks, ModelMergeSimple, ModelSubtract
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from safetensors.torch import save_file

import nodes as host_nodes

from .families import CONTEXT, FAMILIES, FLUX_WIDTHS, POOLED, filled
from .small_networks import control_net

SIDE = 64  # of the pictures


@dataclass(frozen=True)
class Composition:
    """What ``put`` does to a job on the model ``base``; settings: of the sampler and of KSampler."""

    base: str
    put: Callable
    settings: dict = field(default_factory=dict)


def noise(*shape, seed=11):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def picture(seed=12, side=SIDE):
    return torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(seed))


# --- ControlNet


def controlled(control, start=0.0, end=1.0):
    def put(job, files):
        job.positive, job.negative = host_nodes.ControlNetApplyAdvanced().apply_controlnet(
            job.positive, job.negative, control(), picture(), 0.9, start, end, vae=job.vae
        )

    return put


def unet_control():
    network = control_net()
    return comfy.controlnet.load_controlnet_state_dict(filled(network), model_options={"dtype": torch.float32})


def mmdit_control():
    network = comfy.cldm.mmdit.ControlNet(
        num_blocks=1,
        input_size=None,
        in_channels=16,
        depth=2,
        adm_in_channels=192,
        context_embedder_config={"target": "torch.nn.Linear", "params": {"in_features": 192, "out_features": 128}},
        num_patches=256,
        pos_embed_max_size=16,
        dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )
    return of_latents(network, latent_formats.SD3())


def flux_control():
    config = FAMILIES["flux_schnell"].detect()
    config.unet_config.update(FLUX_WIDTHS, vec_in_dim=POOLED, depth=1, depth_single_blocks=1)
    network = comfy.ldm.flux.controlnet.ControlNetFlux(
        latent_input=True,
        control_latent_channels=16,
        dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
        **config.unet_config,
    )
    return of_latents(network, latent_formats.Flux(), extra_conds=["y", "guidance"])


def of_latents(network, latent_format, **options):
    """As its loader makes one from a file, whose widths the host takes for granted: its picture is encoded first."""
    network.load_state_dict(filled(network))
    return comfy.controlnet.ControlNet(
        network,
        compression_ratio=1,
        latent_format=latent_format,
        load_device=comfy.model_management.get_torch_device(),
        **options,
    )


# --- LoRA


def lora_file(job, folder):
    """A LoRA of rank 2 for every attention of the model, and one for nothing of the text encoder."""
    weights = job.model.model.diffusion_model.state_dict()
    lora = {}
    for name in (name for name in weights if "attn" in name and name.endswith((".qkv.weight", "to_q.weight"))):
        rows, columns = weights[name].shape
        module = f"diffusion_model.{name.removesuffix('.weight')}"
        lora[f"{module}.lora_up.weight"] = 0.3 * noise(rows, 2)
        lora[f"{module}.lora_down.weight"] = 0.3 * noise(2, columns)
    assert lora
    save_file(lora, folder / "small.safetensors")
    return "small.safetensors"


def put_lora(job, files):
    job.model, _ = host_nodes.LoraLoader().load_lora(job.model, files.clip, lora_file(job, files.loras), 0.8, 0.8)


def put_lora_in_the_model_only(job, files):
    (job.model,) = host_nodes.LoraLoaderModelOnly().load_lora_model_only(job.model, lora_file(job, files.loras), 0.8)


def put_lora_hook(job, files):
    (hooks,) = CreateHookLoraModelOnly().create_hook_model_only(lora_file(job, files.loras), 0.8)
    job.positive, job.negative = PairConditioningSetProperties().set_properties(
        job.positive, job.negative, 1.0, "default", hooks=hooks
    )


# --- attention patches


class ImageTokens:
    """What IPAdapter puts in the place of a UNet's attention to the prompt: the same, and attention to an image.

    Its layers, tokens and mask are made where a node makes them, under inference mode, and the host never sees them.
    """

    def __init__(self):
        self.to_k, self.to_v = (torch.nn.Linear(16, 320, bias=False) for _ in range(2))
        for seed, layer in enumerate((self.to_k, self.to_v)):
            layer.load_state_dict({"weight": 0.25 * noise(320, 16, seed=seed)})
        self.tokens = noise(1, 4, 16)
        self.mask = torch.linspace(0, 1, 64)[None, :, None]  # a latent's 8 x 8 places

    def __call__(self, q, k, v, extra_options):
        heads = extra_options["n_heads"]
        tokens = self.tokens.expand(len(q), -1, -1)
        image = optimized_attention(q, self.to_k(tokens), self.to_v(tokens), heads)
        return optimized_attention(q, k, v, heads) + image * self.mask


PLACES = [("input", 1), ("middle", 0), ("output", 0), ("output", 1)]


def put_attn2_replacement(job, files):
    job.model = job.model.clone()
    for block, number in PLACES:
        job.model.set_model_attn2_replace(ImageTokens(), block, number)


def put_attn2_patch(job, files):
    scale = 1 + 0.3 * noise(768)

    def patch(q, k, v, extra_options):
        return q * 1.1, k * scale, v * scale

    job.model = job.model.clone()
    job.model.set_model_attn2_patch(patch)


def put_hypernetwork(job, files):
    """Patches of attn1 and attn2 with layers of their own, the host's."""
    widths = {320: 320, 768: 768}
    network = {
        width: [
            {"linear.0.weight": 0.02 * noise(width, width, seed=seed), "linear.0.bias": 0.1 * noise(width)}
            for seed in (1, 2)
        ]
        for width in widths
    }
    torch.save(network, files.hypernetworks / "small.pt")
    job.model = HypernetworkLoader.execute(job.model, "small.pt", 0.5)[0]


def put_perturbed_attention(job, files):
    job.model = PerturbedAttentionGuidance.execute(job.model, 2.0)[0]


# --- style models


def clip_vision_output(files, width):
    """What the host's CLIPVision of this width sees in a picture."""
    config = {
        "hidden_act": "quick_gelu",
        "hidden_size": width,
        "image_size": 28,
        "intermediate_size": 64,
        "model_type": "clip_vision_model",
        "num_attention_heads": 2,
        "num_channels": 3,
        "num_hidden_layers": 2,
        "patch_size": 14,
        "projection_dim": 16,
    }
    path = files.loras / "clip_vision.json"
    path.write_text(json.dumps(config))
    clip_vision = comfy.clip_vision.ClipVisionModel(path)
    clip_vision.load_sd(filled(clip_vision.model))
    return host_nodes.CLIPVisionEncode().encode(clip_vision, picture(side=28), "center")[0]


def styled(network, width, strength, kind):
    def put(job, files):
        style = network()
        style.load_state_dict(filled(style))
        (job.positive,) = host_nodes.StyleModelApply().apply_stylemodel(
            job.positive, comfy.sd.StyleModel(style), clip_vision_output(files, width), strength, kind
        )

    return put


def style_adapter():
    return comfy.t2i_adapter.adapter.StyleAdapter(width=32, context_dim=768, num_head=2, n_layes=1, num_token=2)


def redux():
    return comfy.ldm.flux.redux.ReduxImageEncoder(redux_dim=32, txt_in_features=CONTEXT)


# --- merged models


def another(job):
    """The same network with other weights."""
    other = job.model.clone()
    names = [name for name in job.model.model_state_dict() if name.endswith("attn.qkv.weight")]
    weights = job.model.model_state_dict()
    other.add_patches({name: ("diff", (0.2 * noise(*weights[name].shape),)) for name in names}, 1.0)
    return other


def put_simple_merge(job, files):
    (job.model,) = ModelMergeSimple().merge(job.model, another(job), 0.4)


def put_merge_by_blocks(job, files):
    (job.model,) = ModelMergeBlocks().merge(job.model, another(job), **{"joint_blocks.0.": 0.2, "joint_blocks.1.": 0.9})


def put_difference(job, files):
    (difference,) = ModelSubtract().merge(another(job), job.model, 1.0)
    (job.model,) = ModelAdd().merge(job.model, difference)


# --- regions


def put_two_masks(job, files):
    conditionings = []
    for left in (True, False):
        mask = torch.zeros(1, SIDE, SIDE)
        mask[..., : SIDE // 2] = left
        mask[..., SIDE // 2 :] = not left
        each = job.positive if left else job.negative
        conditionings.append(host_nodes.ConditioningSetMask().append(each, mask, "default", 1.0)[0])
    (job.positive,) = host_nodes.ConditioningCombine().combine(*conditionings)


def put_an_area(job, files):
    """A half of its own on top of a prompt for everything."""
    (half,) = host_nodes.ConditioningSetArea().append(job.negative, SIDE // 2, SIDE, SIDE // 2, 0, 1.0)
    (job.positive,) = host_nodes.ConditioningCombine().combine(job.positive, half)


# --- latents


def start(job):
    return noise(1, job.vae.latent_channels, 8, 8)


def put_a_latent(job, files):
    job.latent = {"samples": start(job)}


def put_a_mask(job, files):
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 16:48, 8:40] = 1
    (job.latent,) = host_nodes.SetLatentNoiseMask().set_mask({"samples": start(job)}, mask)


def put_a_hole(job, files):
    """The masked part of the picture is grey before it is encoded, and the mask grown."""
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 16:48, 8:40] = 1
    (job.latent,) = host_nodes.VAEEncodeForInpaint().encode(job.vae, picture(), mask, 6)


def put_a_batch(job, files):
    (job.latent,) = host_nodes.RepeatLatentBatch().repeat({"samples": start(job) * 0}, 2)


def put_a_batch_of_prompts(job, files):
    """One conditioning with a row for each picture; the host has no node that makes one, other packs do."""
    put_a_batch(job, files)
    [(first, options)], [(second, _)] = job.positive, job.negative
    options = {key: torch.cat([value, -value]) if key == "pooled_output" else value for key, value in options.items()}
    job.positive = [[torch.cat([first, second]), options]]


COMPOSITIONS = {
    "controlnet": Composition("unet", controlled(unet_control)),
    "controlnet in the middle": Composition("unet", controlled(unet_control, 0.2, 0.7)),
    "controlnet of SD3": Composition("flow", controlled(mmdit_control)),
    "controlnet of FLUX": Composition("flux", controlled(flux_control, 0.0, 0.8)),
    "lora": Composition("flow", put_lora),
    "lora in the model only": Composition("flow", put_lora_in_the_model_only),
    "lora hook": Composition("flow", put_lora_hook, {"cfg": 1.0}),
    "attn2 replaced": Composition("unet", put_attn2_replacement),
    "attn2 patched": Composition("unet", put_attn2_patch),
    "hypernetwork": Composition("unet", put_hypernetwork),
    "perturbed attention": Composition("unet", put_perturbed_attention),
    "style model": Composition("unet", styled(style_adapter, 32, 1.0, "multiply")),
    "redux": Composition("flux", styled(redux, 32, 0.7, "multiply")),
    "redux by attention": Composition("flux", styled(redux, 32, 0.7, "attn_bias")),
    "merged": Composition("flow", put_simple_merge),
    "merged by blocks": Composition("flow", put_merge_by_blocks),
    "a difference added": Composition("flow", put_difference),
    "regions by masks": Composition("flow", put_two_masks),
    "regions by areas": Composition("flow", put_an_area),
    "inpainting": Composition("flow", put_a_mask),
    "inpainting on grey": Composition("flow", put_a_hole, {"denoise": 0.9}),
    "inpainting by a UNet": Composition("unet", put_a_mask),
    "img2img": Composition("flow", put_a_latent, {"denoise": 0.6}),
    "batch of seeds": Composition("flow", put_a_batch),
    "batch of prompts": Composition("flow", put_a_batch_of_prompts),
}
