"""The flow models that the host knows by itself, each as a small network of its real class with random weights.

A model is told from the names and shapes of its file, as the host tells it; only its widths are then made small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import comfy.ldm.wan.vae
import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.taesd.taesd
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow, ModelSamplingFlux, ModelSamplingSD3

HEIGHT, WIDTH = 4, 5  # of a latent; odd, so that squares of two by two have to be padded
CONTEXT, POOLED = 24, 12  # widths of the text that a small model reads


def filled(network: torch.nn.Module, seed: int = 4) -> dict[str, torch.Tensor]:
    """Random weights that keep the size of what runs through a layer: by fan-in, norms near 1, biases small."""
    generator = torch.Generator().manual_seed(seed)
    norms = {name for name, module in network.named_modules() if type(module).__name__.endswith("Norm")}
    state = {}
    for name, w in network.state_dict().items():
        if not w.is_floating_point():
            state[name] = torch.zeros_like(w)
            continue
        owner, _, kind = name.rpartition(".")
        is_norm = kind != "bias" and (owner in norms or kind == "running_var")
        size = 0.1 if w.ndim < 2 else w[0].numel() ** -0.5
        state[name] = is_norm + size * torch.randn(w.shape, generator=generator)
    return state


# --- the VAEs


def kl_vae(channels: int, packed: bool = False) -> comfy.sd.VAE:
    """Of Stable Diffusion's and FLUX's kind; ``packed``: FLUX.2's, whose latents hold squares of four normalised."""
    widths = {
        "double_z": True,
        "z_channels": channels,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
        "batch_norm_latent": packed,
    }
    # by a config, since from a file the host takes the widths of the real one for granted
    config = {"params": {"ddconfig": widths, "embed_dim": channels}}
    state = filled(AutoencoderKL(**config["params"]))
    state["decoder.conv_out.weight"] *= 0.1  # grey pictures: nothing is clamped, see `small_vae`
    vae = comfy.sd.VAE(sd=state, config=config, dtype=torch.float32)
    vae.latent_channels = channels * (4 if packed else 1)
    vae.downscale_ratio = vae.upscale_ratio = 16 if packed else 8
    return vae


def video_vae() -> comfy.sd.VAE:
    """Of Wan's and Qwen-Image's kind: its latents have an axis of frames."""
    state = filled(comfy.ldm.wan.vae.WanVAE(dim=8, z_dim=16, temperal_downsample=[False, True, True]))
    state["decoder.head.2.weight"] *= 0.1
    return comfy.sd.VAE(sd=state, dtype=torch.float32)


def tiny_vae() -> comfy.sd.VAE:
    """TAEF1's kind."""
    network = comfy.taesd.taesd.TAESD(latent_channels=16)
    state = filled(network)
    last = f"taesd_decoder.{len(network.taesd_decoder) - 1}"
    state[f"{last}.weight"] *= 0.1
    state[f"{last}.bias"] = torch.full((3,), 0.5)
    return comfy.sd.VAE(sd=state, dtype=torch.float32)


# --- the families


@dataclass(frozen=True)
class Family:
    """What the host sees in a file (``file``: names and shapes), and the widths of the small network instead."""

    file: dict[str, tuple[int, ...]]
    host_class: str
    vae: Callable[[], comfy.sd.VAE]
    widths: dict = field(default_factory=dict)
    shifted: Callable = lambda model: ModelSamplingAuraFlow().patch_aura(model, 4.2)[0]
    channels: int = 16
    context: int = CONTEXT
    size: tuple[int, int] = (HEIGHT, WIDTH)
    extras: Callable[[int], dict] = lambda tokens: {}  # of a conditioning with so many tokens
    read: str = "image_model"  # what a host that knows the model reads from its file
    last: str = ""  # the layer that gives pixels: of small weights, so that no picture is clamped
    clamped: bool = False  # it gives their velocity instead, so that pictures are
    in_place: bool = False  # it changes what its gradient needs, which a run notices; see `saved`
    rule: str = "accumulated"  # that lowers its energy with random weights, whose windows are as far from straight
    half: bool = True  # whether it stays finite in float16

    def detect(self):
        """The host's configuration for the real file, of which only shapes are looked at; None for an unknown one."""
        file = {name: torch.empty(shape, device="meta") for name, shape in self.file.items()}
        return comfy.model_detection.model_config_from_unet(file, "")

    def known(self) -> bool:
        """Whether this host takes the file for what it is, and not for another or no model."""
        config = self.detect()
        return type(config).__name__ == self.host_class and self.read in config.unet_config

    def load(self) -> comfy.model_patcher.ModelPatcher:
        config = self.detect()
        config.unet_config.update(self.widths)
        config.set_inference_dtype(torch.float32, None)
        model = config.get_model({})
        state = filled(model.diffusion_model)
        for name in state.keys() & {f"{self.last}.weight", f"{self.last}.bias"}:
            state[name] *= 0.14
        model.load_model_weights(state, "")
        device = comfy.model_management.get_torch_device()
        return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))

    def conditioning(self, tokens: int, seed: int) -> list:
        context = torch.randn(1, tokens, self.context, generator=torch.Generator().manual_seed(seed))
        return [[context, {"pooled_output": None, **self.extras(tokens)}]]


def pooled(size: int) -> torch.Tensor:
    return torch.randn(1, size, generator=torch.Generator().manual_seed(9))


def masked(tokens: int) -> dict:
    """The last two tokens are padding."""
    mask = torch.ones(1, tokens, dtype=torch.long)
    mask[:, -2:] = 0
    return {"attention_mask": mask}


def counted(tokens: int) -> dict:
    """No token is padding."""
    return {"attention_mask": torch.ones(1, tokens, dtype=torch.long)}


def shifted_like_flux(model):
    return ModelSamplingFlux().patch(model, 1.15, 0.5, 1536, 1024)[0]


def shifted_like_sd3(model):
    return ModelSamplingSD3().patch(model, 5.0)[0]


FLUX_WIDTHS = {"hidden_size": 64, "num_heads": 2, "axes_dim": [8, 12, 12], "context_in_dim": CONTEXT}
FLUX_FILE = {
    "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
    "single_blocks.0.norm.key_norm.scale": (128,),
    "img_in.weight": (3072, 64),
    "txt_in.weight": (3072, 4096),
}
FLUX_VECTOR = {"vector_in.in_layer.weight": (3072, 768)}
FLUX_GUIDANCE = {"guidance_in.in_layer.weight": (3072, 256)}


def flux2_file(width: int, text: int) -> dict[str, tuple[int, ...]]:
    return {
        "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
        "single_blocks.0.norm.key_norm.scale": (128,),
        "double_stream_modulation_img.lin.weight": (6 * width, width),
        "img_in.weight": (width, 128),
        "txt_in.weight": (width, text),
    }


def lumina_file(width: int, text: int) -> dict[str, tuple[int, ...]]:
    return {
        "cap_embedder.1.weight": (width, text),
        "noise_refiner.0.attention.k_norm.weight": (128,),
        "layers.0.attention.qkv.weight": (3 * width, width),
    }


LUMINA_WIDTHS = {
    "dim": 256,  # Z-Image's embedding of the time is as wide
    "n_heads": 4,
    "axes_dims": [16, 24, 24],
    "cap_feat_dim": CONTEXT,
    "n_refiner_layers": 1,
    "multiple_of": 16,
}

FAMILIES = {
    "sd3": Family(
        # all of its widths are read from the file
        file={
            "joint_blocks.0.context_block.attn.qkv.weight": (384, 128),
            "x_embedder.proj.weight": (128, 16, 2, 2),
            "final_layer.linear.weight": (64, 128),
            "y_embedder.mlp.0.weight": (128, POOLED),
            "context_embedder.weight": (128, CONTEXT),
            "pos_embed": (1, 256, 128),
        },
        host_class="SD3",
        vae=lambda: kl_vae(16),
        shifted=shifted_like_sd3,
        extras=lambda tokens: {"pooled_output": pooled(POOLED)},
    ),
    "flux_schnell": Family(
        file={**FLUX_FILE, **FLUX_VECTOR},
        host_class="FluxSchnell",
        widths={**FLUX_WIDTHS, "vec_in_dim": POOLED},
        vae=lambda: kl_vae(16),
        shifted=shifted_like_flux,
        extras=lambda tokens: {"pooled_output": pooled(POOLED)},
    ),
    "flux_dev": Family(
        file={**FLUX_FILE, **FLUX_VECTOR, **FLUX_GUIDANCE},
        host_class="Flux",
        widths={**FLUX_WIDTHS, "vec_in_dim": POOLED},
        vae=lambda: kl_vae(16),
        shifted=shifted_like_flux,
        extras=lambda tokens: {"pooled_output": pooled(POOLED), "guidance": 2.5},
    ),
    "flux2_dev": Family(
        file={**flux2_file(6144, 15360), "guidance_in.in_layer.weight": (6144, 256)},
        host_class="Flux2",
        widths={**FLUX_WIDTHS, "axes_dim": [8, 8, 8, 8]},
        vae=lambda: kl_vae(32, packed=True),
        shifted=shifted_like_flux,
        channels=128,
        extras=lambda tokens: {"guidance": 4.0},
    ),
    "flux2_klein": Family(
        file=flux2_file(3072, 7680),
        host_class="Flux2",
        widths={**FLUX_WIDTHS, "axes_dim": [8, 8, 8, 8]},
        vae=lambda: kl_vae(32, packed=True),
        shifted=shifted_like_flux,
        channels=128,
    ),
    "lumina2": Family(
        file=lumina_file(2304, 2304),
        host_class="Lumina2",
        widths={**LUMINA_WIDTHS, "n_kv_heads": 2},
        vae=lambda: kl_vae(16),
        extras=counted,
    ),
    "z_image": Family(
        file={**lumina_file(3840, 2560), "cap_pad_token": (1, 3840)},
        host_class="ZImage",
        widths={**LUMINA_WIDTHS, "n_kv_heads": 4},
        vae=lambda: kl_vae(16),
        extras=counted,
    ),
    "qwen_image": Family(
        file={
            "txt_norm.weight": (3584,),
            "img_in.weight": (3072, 64),
            "proj_out.weight": (64, 3072),
            "transformer_blocks.0.attn.to_q.weight": (3072, 3072),
        },
        host_class="QwenImage",
        widths={
            "attention_head_dim": 32,
            "num_attention_heads": 2,
            "joint_attention_dim": CONTEXT,
            "axes_dims_rope": (8, 12, 12),
        },
        vae=video_vae,
        extras=masked,
    ),
    "auraflow": Family(
        file={
            "double_layers.0.attn.w1q.weight": (3072, 3072),
            "single_layers.0.attn.w1q.weight": (3072, 3072),
            "positional_encoding": (1, 64, 3072),
            "cond_seq_linear.weight": (3072, 2048),
        },
        host_class="AuraFlow",
        widths={"dim": 64, "n_heads": 2, "global_conddim": 64, "cond_seq_dim": CONTEXT},
        vae=lambda: kl_vae(4),
        channels=4,
    ),
    "chroma": Family(
        file={**FLUX_FILE, "distilled_guidance_layer.norms.0.scale": (5120,)},
        host_class="Chroma",
        widths={**FLUX_WIDTHS, "out_dim": 64, "hidden_dim": 32, "n_layers": 2},
        vae=lambda: kl_vae(16),
    ),
    "hidream": Family(
        file={"caption_projection.0.linear.weight": (2560, 4096)},
        host_class="HiDream",
        widths={
            "attention_head_dim": 32,
            "num_attention_heads": 2,
            "axes_dims_rope": [16, 8, 8],
            "caption_channels": [CONTEXT, 20],
            "text_emb_dim": POOLED,
            "num_layers": 1,
            "num_single_layers": 1,
            "num_activated_experts": 4,  # all: where the choice of two changes, the picture jumps
            "llama_layers": [0, 1],
        },
        vae=lambda: kl_vae(16),
        shifted=shifted_like_sd3,
        extras=lambda tokens: {
            "pooled_output": pooled(POOLED),
            "conditioning_llama3": torch.randn(1, 2, 6, 20, generator=torch.Generator().manual_seed(7)),
        },
    ),
}
