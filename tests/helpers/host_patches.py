"""What the host's own nodes put onto a model or a latent, each on a small network, at a cfg where it acts."""

from __future__ import annotations

import torch
from comfy_extras.nodes_cfg import CFGNorm, CFGZeroStar
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from comfy_extras.nodes_hypertile import HyperTile
from comfy_extras.nodes_model_advanced import RescaleCFG
from comfy_extras.nodes_model_downscale import PatchModelAddDownscale
from comfy_extras.nodes_sag import SelfAttentionGuidance
from comfy_extras.nodes_slg import SkipLayerGuidanceDiT

import nodes as host_nodes

from .compositions import SIDE, Composition, picture, start

CFG = {"cfg": 3.0}


def patched(node, *settings, **named):
    def put(job, files):
        job.model = node.execute(job.model, *settings, **named)[0]

    return put


def skipping(double, single):
    """In all steps, these of the model's blocks."""
    return patched(
        SkipLayerGuidanceDiT,
        scale=2.0,
        start_percent=0.0,
        end_percent=1.0,
        double_layers=double,
        single_layers=single,
    )


def put_rescaled_cfg(job, files):
    (job.model,) = RescaleCFG().patch(job.model, 0.7)


def put_a_soft_mask(job, files):
    """Its places are drawn one after the other, from the step on whose share of the noise the mask exceeds."""
    mask = torch.linspace(0.2, 1, SIDE).expand(1, SIDE, SIDE)
    (job.latent,) = host_nodes.SetLatentNoiseMask().set_mask({"samples": start(job)}, mask)
    job.model = DifferentialDiffusion.execute(job.model).result[0]


def put_inpainting(keeps):
    """``keeps``: whether the latent keeps what is outside of the mask, beside the model that is shown it."""

    def put(job, files):
        mask = torch.zeros(1, SIDE, SIDE)
        mask[:, 16:48, 8:40] = 1
        job.positive, job.negative, job.latent = host_nodes.InpaintModelConditioning().encode(
            job.positive, job.negative, picture(), job.vae, mask, keeps
        )

    return put


COMPOSITIONS = {
    "differential diffusion": Composition("flow", put_a_soft_mask, CFG),
    "inpainting by a plain model": Composition("flow", put_inpainting(True), CFG),
    "inpainting by an inpainting UNet": Composition("inpainting unet", put_inpainting(False), CFG),
    "inpainting by FLUX Fill": Composition("flux_fill", put_inpainting(True), CFG),
    "CFGNorm": Composition("flow", patched(CFGNorm, 0.9), CFG),
    "CFGZeroStar": Composition("flow", patched(CFGZeroStar), CFG),
    "RescaleCFG": Composition("flow", put_rescaled_cfg, CFG),
    "skipped layers of SD3": Composition("flow", skipping("0", ""), CFG),
    "skipped layers of FLUX": Composition("flux_dev", skipping("", "0"), CFG),
    "downscaled": Composition("unet", patched(PatchModelAddDownscale, 1, 2.0, 0.0, 1.0, True, "area", "bicubic"), CFG),
    "HyperTile": Composition("unet", patched(HyperTile, 32, 1, 0, False), CFG),
    "SelfAttentionGuidance": Composition("unet", patched(SelfAttentionGuidance, 0.5, 2.0), CFG),
}
