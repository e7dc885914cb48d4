"""The templates of edit models, node by node as the host runs them, on small networks of their models' classes."""

from __future__ import annotations

import comfy_extras.nodes_edit_model
import comfy_extras.nodes_flux
import comfy_extras.nodes_qwen
import pytest
import torch

import nodes as host_nodes
from tests.helpers.compositions import picture
from tests.helpers.families import FAMILIES
from tests.helpers.graphs import Graph
from tests.helpers.host_nodes import outputs_of
from tests.helpers.references import qwen_reader

EXTRAS = (comfy_extras.nodes_edit_model, comfy_extras.nodes_flux, comfy_extras.nodes_qwen)


def run(type_, inputs):
    found = [getattr(module, type_) for module in EXTRAS if hasattr(module, type_)]
    return outputs_of(found[0] if found else host_nodes.NODE_CLASS_MAPPINGS[type_], **inputs)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("26 Edit a photo with FLUX.1 Kontext", "flux_dev"),
        ("27 Edit a photo with FLUX.2 klein", "flux2_dev"),
        ("28 Edit a photo with Qwen-Image-Edit", "qwen_image"),
    ],
)
def test_the_photograph_reaches_the_model_and_the_recogniser(job, brightness, name, family):
    """The scaled one is the model's, the whole one the recogniser's; the picture is guided from where it starts."""
    photograph = picture(20, 96)
    family = FAMILIES[family]
    job.model, job.vae = family.shifted(family.load()), family.vae()
    conditioning = family.conditioning(7, seed=1)
    given = {"LoadImage": (photograph, None), "VAELoader": (job.vae,), "CLIPTextEncode": (conditioning,)}
    if "Qwen" in name:
        given["CLIPLoader"] = (qwen_reader(),)
    graph = Graph(name, given, run)
    assert graph.entering("EncodeReferenceIdentity", "images") is photograph
    job.positive, job.negative = (graph.entering("AnchoredRectifiedSampler", each) for each in ("positive", "negative"))
    start = graph.entering("AnchoredRectifiedSampler", "latent_image")["samples"]
    [reference] = job.positive[0][1]["reference_latents"]
    if "Qwen" not in name:
        assert torch.equal(reference, start)
    side = 1024 // job.vae.spacial_compression_encode()
    assert reference.shape[-2:] == start.shape[-2:] == (side, side)

    job.latent = {"samples": start[..., :8, :8].contiguous()}  # with its axes, smaller than the megapixel
    shown = job.ksampler()
    assert torch.equal(job.guide(iterations=0)[0], shown)
    job.guide(energy=brightness, iterations=2, steps=1, scale=1.0, scale_unit="latent")
    assert job.iterates[-1].energy < job.iterates[0].energy
    job.positive = [[job.positive[0][0], {k: v for k, v in job.positive[0][1].items() if k != "reference_latents"}]]
    assert (job.ksampler() - shown).abs().max() > 1e-3, "the model does not look at it"
