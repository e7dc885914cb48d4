"""Pictures that an edit model is shown: each is put into a job by the host's own nodes, on a small network."""

from __future__ import annotations

from types import SimpleNamespace

import comfy.sd
import comfy.text_encoders.qwen_image
import torch
from comfy_extras.nodes_edit_model import ReferenceLatent
from comfy_extras.nodes_flux import FluxKontextMultiReferenceLatentMethod
from comfy_extras.nodes_qwen import TextEncodeQwenImageEditPlus

import nodes as host_nodes

from .compositions import Composition, picture
from .families import CONTEXT, filled

(METHODS,) = (
    each.options
    for each in FluxKontextMultiReferenceLatentMethod.GET_SCHEMA().inputs
    if each.id == "reference_latents_method"
)
TIMED = "index_timestep_zero"  # Qwen-Image's; with FLUX newer hosts' own KSampler fails, with FLUX.2 in batches


def shown(*sides, method=None):
    """Pictures of these sides, each encoded by the VAE, for the positive prompt and for the negative."""

    def put(job, files):
        for seed, side in enumerate(sides):
            (latent,) = host_nodes.VAEEncode().encode(job.vae, picture(20 + seed, side))
            job.positive, job.negative = (
                ReferenceLatent.execute(each, latent).result[0] for each in (job.positive, job.negative)
            )
        if method:
            job.positive, job.negative = (
                FluxKontextMultiReferenceLatentMethod.execute(each, method).result[0]
                for each in (job.positive, job.negative)
            )

    return put


def qwen_reader() -> comfy.sd.CLIP:
    """Qwen-Image's text encoder, which also sees pictures: its real tokens, and narrow layers with random weights."""
    widths = {
        "hidden_size": CONTEXT,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    target = SimpleNamespace(
        params={},
        clip=comfy.text_encoders.qwen_image.te(),
        tokenizer=comfy.text_encoders.qwen_image.QwenImageTokenizer,
    )
    options = {"qwen25_7b_model_config": widths, "dtype": torch.float32, "initial_device": torch.device("meta")}
    clip = comfy.sd.CLIP(target, model_options=options)
    network = clip.cond_stage_model
    del network.qwen25_7b.transformer.visual.blocks[1:]  # their width is the same in every model
    network.load_state_dict(filled(network), assign=True)
    return clip


def read_by_the_text_encoder(job) -> None:
    """A picture, as Qwen-Image-Edit's own node puts it: into the prompt, and as a latent of a megapixel."""
    (job.positive,) = TextEncodeQwenImageEditPlus.execute(
        qwen_reader(), "put the hat onto the person", job.vae, picture(20)
    ).result


COMPOSITIONS = {
    "reference of FLUX": Composition("flux_dev", shown(64)),
    **{
        f"references of FLUX, {method}": Composition("flux_dev", shown(64, 48, method=method))
        for method in METHODS
        if method != TIMED
    },
    "reference of FLUX.2": Composition("flux2_dev", shown(64)),
    "references of FLUX.2": Composition("flux2_dev", shown(64, 32, 64)),
    "reference of Qwen-Image": Composition("qwen_image", shown(64)),
    "references of Qwen-Image": Composition("qwen_image", shown(64, 48)),
    f"references of Qwen-Image, {TIMED}": Composition("qwen_image", shown(64, 48, method=TIMED)),
}
