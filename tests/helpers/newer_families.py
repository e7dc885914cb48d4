"""The flow models that hosts after 0.3.75 know, and those that paint pixels; made small as those in `families`.

Each is asked for by the class that a newer host has for it, or by what only such a host reads from its file.
"""

from __future__ import annotations

import comfy.model_patcher
import comfy.sd
import torch
from comfy.ldm.hunyuan_video.vae import Decoder, Encoder
from comfy.ldm.models.autoencoder import AutoencodingEngine
from comfy_extras.nodes_model_advanced import ModelSamplingSD3

from tests.helpers.families import (
    CONTEXT,
    FLUX_FILE,
    FLUX_WIDTHS,
    LUMINA_WIDTHS,
    POOLED,
    Family,
    counted,
    filled,
    kl_vae,
    lumina_file,
    masked,
    pooled,
    shifted_like_flux,
    shifted_like_sd3,
    video_vae,
)

TEXT_WIDTH = 1024  # that Anima's adapter of the text is built with


def hunyuan_image_vae() -> comfy.sd.VAE:
    """Of HunyuanImage 2.1's kind: 64 channels, one latent for 32 x 32 pixels; from a file it is a thousand wide."""
    widths = {
        "block_out_channels": [32, 32, 32, 32, 64, 64],
        "in_channels": 3,
        "out_channels": 3,
        "num_res_blocks": 1,
        "ffactor_spatial": 32,
        "downsample_match_channel": True,
        "upsample_match_channel": True,
        "z_channels": 64,
    }
    network = AutoencodingEngine(
        regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
        encoder_config={"target": f"{Encoder.__module__}.Encoder", "params": widths},
        decoder_config={"target": f"{Decoder.__module__}.Decoder", "params": widths},
    )
    state = filled(network)
    state["decoder.conv_out.weight"] *= 0.1
    network.load_state_dict(state)
    vae = kl_vae(64)
    vae.first_stage_model = network.eval()
    vae.patcher = comfy.model_patcher.ModelPatcher(
        vae.first_stage_model, load_device=vae.device, offload_device=torch.device("cpu")
    )
    vae.downscale_ratio = vae.upscale_ratio = 32
    return vae


def pixel_vae() -> comfy.sd.VAE:
    """What the host has in the place of a VAE where the model paints pixels: it hands them through."""
    return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)


def with_t5_tokens(tokens: int) -> dict:
    """What Anima's adapter reads beside the text."""
    return {"t5xxl_ids": torch.arange(3, 3 + tokens), "t5xxl_weights": torch.ones(tokens)}


def with_token_ids(tokens: int) -> dict:
    """HiDream-O1 reads the words themselves; the last is the one that stands for the time."""
    return {"text_input_ids": torch.tensor([[*range(5, 4 + tokens), 151673]])}


HUNYUAN_FILE = {
    "txt_in.individual_token_refiner.blocks.0.norm1.weight": (3584,),
    "txt_in.input_embedder.weight": (3584, 3584),
    "img_in.proj.weight": (3584, 64, 1, 1),
    "final_layer.linear.weight": (64, 3584),
    "double_blocks.0.img_attn.qkv.weight": (10752, 3584),
    "single_blocks.0.linear1.weight": (25088, 3584),
}
HUNYUAN_WIDTHS = {"hidden_size": 64, "num_heads": 2, "axes_dim": [16, 16], "context_in_dim": CONTEXT}

# on a host that reads nothing else from their files they would be another model
FAMILIES = {
    "krea2": Family(
        file={
            "txtfusion.projector.weight": (1, 12),
            "txtfusion.layerwise_blocks.0.prenorm.scale": (2560,),
            "first.weight": (6144, 64),
            "blocks.0.attn.wq.weight": (6144, 6144),
            "blocks.0.attn.wk.weight": (1536, 6144),
        },
        host_class="Krea2",
        widths={
            "features": 64,
            "tdim": 32,
            "heads": 4,
            "kvheads": 2,
            "txtlayers": 2,
            "txtdim": CONTEXT // 2,
            "txtheads": 2,
            "txtkvheads": 2,
        },
        vae=video_vae,
        shifted=shifted_like_flux,
    ),
    "ideogram4": Family(
        file={
            "embed_image_indicator.weight": (2, 4608),
            "input_proj.weight": (4608, 128),
            "layers.0.attention.qkv.weight": (13824, 4608),
        },
        host_class="Ideogram4",
        widths={
            "num_attention_heads": 2,
            "attention_head_dim": 32,
            "intermediate_size": 64,
            "adaln_dim": 16,
            "llm_features_dim": CONTEXT,
            "mrope_section": (6, 5, 5),
        },
        vae=lambda: kl_vae(32, packed=True),
        channels=128,
        extras=masked,
    ),
    "ernie_image": Family(
        file={"layers.0.mlp.linear_fc2.weight": (4096, 12288)},
        host_class="ErnieImage",
        widths={
            "hidden_size": 64,
            "num_attention_heads": 2,
            "num_layers": 1,
            "ffn_hidden_size": 64,
            "text_in_dim": CONTEXT,
            "rope_axes_dim": (8, 12, 12),
        },
        vae=lambda: kl_vae(32, packed=True),
        shifted=shifted_like_sd3,
        channels=128,
    ),
    "longcat_image": Family(
        file={**FLUX_FILE, "txt_in.weight": (3072, 3584)},
        host_class="LongCatImage",
        widths=FLUX_WIDTHS,
        vae=lambda: kl_vae(16),
        shifted=shifted_like_flux,
    ),
    "ovis_image": Family(
        file={
            **FLUX_FILE,
            "txt_in.weight": (3072, 2048),
            "txt_norm.scale": (2048,),
            "double_blocks.0.img_mlp.gate_proj.weight": (12288, 3072),
        },
        host_class="FluxSchnell",
        read="yak_mlp",
        widths=FLUX_WIDTHS,
        vae=lambda: kl_vae(16),
        shifted=shifted_like_flux,
    ),
    "anima": Family(
        file={
            "blocks.0.mlp.layer1.weight": (8192, 2048),
            "llm_adapter.blocks.0.cross_attn.q_proj.weight": (1024, 1024),
            "x_embedder.proj.1.weight": (2048, 68),
        },
        host_class="Anima",
        widths={"model_channels": 64, "num_heads": 2, "adaln_lora_dim": 16},
        vae=video_vae,
        context=TEXT_WIDTH,
        extras=with_t5_tokens,
    ),
    "kandinsky5_image": Family(
        file={
            "visual_transformer_blocks.0.cross_attention.key_norm.weight": (128,),
            "visual_transformer_blocks.0.feed_forward.in_layer.weight": (10240, 2560),
            "visual_embeddings.in_layer.weight": (2560, 64),
            "visual_embeddings.in_layer.bias": (2560,),
            "time_embeddings.in_layer.bias": (512,),
            "text_transformer_blocks.0.text_modulation.out_layer.bias": (15360,),
        },
        host_class="Kandinsky5Image",
        widths={
            "model_dim": 64,
            "axes_dims": (8, 12, 12),
            "time_dim": 32,
            "ff_dim": 64,
            "in_text_dim": CONTEXT,
            "in_text_dim2": POOLED,
        },
        vae=lambda: kl_vae(16),
        shifted=shifted_like_sd3,
        size=(4, 6),  # it pads odd sizes, and leaves the padding on
        extras=lambda tokens: {"pooled_output": pooled(POOLED)},
    ),
    "boogu": Family(
        file={
            "double_stream_layers.0.img_instruct_attn.processor.img_to_q.weight": (3360, 3360),
            "single_stream_layers.0.attn.to_q.weight": (3360, 3360),
            "noise_refiner.0.attn.to_q.weight": (3360, 3360),
            "x_embedder.weight": (3360, 64),
            "time_caption_embed.caption_embedder.0.weight": (4096,),
        },
        host_class="Boogu",
        widths={
            "hidden_size": 96,
            "num_attention_heads": 4,
            "num_kv_heads": 2,
            "multiple_of": 16,
            "axes_dim_rope": (8, 8, 8),
            "instruction_feat_dim": CONTEXT,
        },
        vae=lambda: kl_vae(16),
        extras=counted,
    ),
    "hunyuan_image": Family(
        file=HUNYUAN_FILE,
        host_class="HunyuanImage21",
        widths=HUNYUAN_WIDTHS,
        vae=hunyuan_image_vae,
        shifted=lambda model: ModelSamplingSD3().patch(model, 3.0)[0],
        channels=64,
        extras=counted,  # it takes a mask, but not of a batch
    ),
    "hunyuan_image_distilled": Family(
        file={
            **HUNYUAN_FILE,
            "guidance_in.in_layer.weight": (3584, 256),
            "time_r_in.in_layer.weight": (3584, 256),
        },
        host_class="HunyuanImage21",
        widths=HUNYUAN_WIDTHS,
        vae=hunyuan_image_vae,
        shifted=lambda model: ModelSamplingSD3().patch(model, 3.0)[0],
        channels=64,
        extras=lambda tokens: {"guidance": 3.5, **counted(tokens)},
    ),
    "chroma_radiance": Family(
        file={
            "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
            "single_blocks.0.norm.key_norm.scale": (128,),
            "txt_in.weight": (3072, 4096),
            "distilled_guidance_layer.norms.0.scale": (5120,),
            "nerf_blocks.0.norm.scale": (64,),
            "nerf_final_layer_conv.norm.scale": (64,),
            "img_in_patch.weight": (3072, 3, 16, 16),
            "__x0__": (0,),
        },
        host_class="ChromaRadiance",
        read="use_x0",
        widths={
            **FLUX_WIDTHS,
            "out_dim": 64,
            "hidden_dim": 32,
            "n_layers": 2,
            "patch_size": 8,
            "nerf_hidden_size": 16,
            "nerf_depth": 1,
            "nerf_max_freqs": 4,
        },
        last="nerf_final_layer_conv.conv",
        vae=pixel_vae,
        channels=3,
        size=(24, 16),  # in this form it takes whole patches only
    ),
    "z_image_pixel": Family(
        file={
            **lumina_file(3840, 2560),
            "cap_pad_token": (1, 3840),
            "x_embedder.weight": (3840, 3072),
            "dec_net.cond_embed.weight": (3840, 3840),
            "dec_net.final_layer.linear.weight": (3072, 3840),
            "dec_net.input_embedder.embedder.0.weight": (3840, 3136),
            "dec_net.res_blocks.0.mlp.0.weight": (3840, 3840),
        },
        host_class="ZImagePixelSpace",
        widths={
            **LUMINA_WIDTHS,
            "n_kv_heads": 4,
            "patch_size": 8,
            "decoder_in_channels": 192,
            "decoder_hidden_size": 32,
            "decoder_max_freqs": 4,
        },
        last="dec_net.final_layer.linear",
        vae=pixel_vae,
        channels=3,
        size=(24, 20),
        extras=counted,
    ),
    "pixeldit": Family(
        file={"core.pixel_embedder.proj.weight": (16, 3)},
        host_class="PixelDiTT2I",
        widths={
            "hidden_size": 64,
            "num_groups": 2,
            "patch_depth": 1,
            "pixel_hidden_size": 16,
            "pixel_attn_hidden_size": 64,
            "pixel_num_groups": 2,
            "pixel_depth": 1,
            "patch_size": 8,
            "txt_embed_dim": CONTEXT,
        },
        last="final_layer.linear",
        clamped=True,
        in_place=True,
        vae=pixel_vae,
        shifted=shifted_like_sd3,
        channels=3,
        size=(24, 20),
    ),
    "hidream_o1": Family(
        file={"t_embedder1.mlp.0.weight": (4096, 256), "x_embedder.proj1.weight": (1024, 3072)},
        host_class="HiDreamO1",
        widths={
            "text_config_overrides": {
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": 32,
                "rope_dims": [6, 5, 5],
            },
            "vision_config_overrides": {
                "hidden_size": 32,
                "num_heads": 2,
                "intermediate_size": 32,
                "depth": 1,
                "num_position_embeddings": 16,
                "deepstack_visual_indexes": (),
            },
        },
        last="final_layer2.linear",
        rule="noise",
        half=False,
        vae=pixel_vae,
        shifted=shifted_like_sd3,
        channels=3,
        size=(64, 32),
        extras=with_token_ids,
    ),
}
