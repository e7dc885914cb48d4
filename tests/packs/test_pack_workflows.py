"""The workflows with other packs' nodes, run node by node on a small network; only what they load is replaced."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import comfy_extras.nodes_flux
import pytest
import torch

import nodes as host_nodes
from tests.helpers.compositions import unet_control
from tests.helpers.graphs import WORKFLOWS, Graph, read
from tests.helpers.host import PACK
from tests.helpers.host_nodes import outputs_of
from tests.helpers.other_packs import (
    a_face,
    faceid_plus,
    finds_faces,
    instantid_model,
    module,
    pulid_model,
    sees_pictures,
    with_pulid,
)
from tests.helpers.pulid_flux import SIPIE, SeesFaces, small_pulid, without_downloads
from tests.host.test_compositions import BASES

SAMPLER = "AnchoredRectifiedSampler"
workflow = importlib.import_module(f"{PACK}.scripts.workflow")
NAMES = [path.stem for path in WORKFLOWS if workflow.other_packs(read(path))]
SOURCES = {  # of each pack by the name that the graph has for it: its folder and its module
    "comfyui_ipadapter_plus": ("ComfyUI_IPAdapter_plus", "IPAdapterPlus"),
    "comfyui_instantid": ("ComfyUI_InstantID", "InstantID"),
    "pulid_comfyui": ("PuLID_ComfyUI", "pulid"),
    "sipie800/ComfyUI-PuLID-Flux-Enhanced": (SIPIE, "pulidflux"),
}


def on_unet(given, adapter, replaced=None):
    """A graph of PeRFlow's: what it loads, the type of its adapter, and a stand-in for what reads a face."""

    def plain(graph):
        return graph.outputs("ModelSamplingPeRFlow")[0], graph.given["CLIPTextEncode"][0]

    return SimpleNamespace(
        given=given, adapter=adapter, replaced=replaced or {}, latent="EmptyLatentImage", family="perflow", plain=plain
    )


def on_flux(files, model):
    """The graph of FLUX, whose adapter is in the loaded model itself for as long as its node is kept."""
    pack = without_downloads(files, SIPIE)
    kept = [pack.ApplyPulidFlux()]

    def apply(**inputs):
        return kept[0].apply_pulid_flux(**inputs, unique_id="16")

    def plain(graph):
        kept.clear()
        return model, graph.outputs("FluxGuidance")[0]

    given = {"PulidFluxModelLoader": (small_pulid(pack),), "PulidFluxEvaClipLoader": (SeesFaces(),)}
    given |= {"PulidFluxInsightFaceLoader": (finds_faces(files.loras),), "LoraLoaderModelOnly": (model,)}
    return SimpleNamespace(
        given=given,
        adapter="ApplyPulidFlux",
        replaced={"ApplyPulidFlux": apply},
        latent="EmptySD3LatentImage",
        family="flow",
        plain=plain,
    )


def put_together(name, files, model):
    """What a graph has of its own, on the small network of ``model``."""
    if "FLUX" in name:
        return on_flux(files, model)
    if "IPAdapter" in name:
        seen = {"IPAdapterInsightFaceLoader": (finds_faces(files.loras),), "LoraLoaderModelOnly": (model,)}
        seen |= {"IPAdapterModelLoader": (faceid_plus(files),), "CLIPVisionLoader": (sees_pictures(files.loras),)}
        return on_unet(seen, "IPAdapterFaceID")
    if "InstantID" in name:
        seen = {"InstantIDFaceAnalysis": (finds_faces(files.loras),), "ControlNetLoader": (unet_control(),)}
        seen["InstantIDModelLoader"] = (instantid_model(files),)
        return on_unet(seen, "ApplyInstantID")

    def apply(model, pulid, method, weight, start_at, end_at, **_):
        return (with_pulid(files, model, pulid, method, weight, start_at, end_at),)

    seen = {"PulidModelLoader": (pulid_model(files),), "PulidEvaClipLoader": (None,), "PulidInsightFaceLoader": (None,)}
    return on_unet(seen, "ApplyPulid", {"ApplyPulid": apply})


@pytest.mark.parametrize("name", NAMES)
def test_it_is_guided_with_the_adapter_in_its_place(job, request, nodes, run, files, name):
    if "FLUX" in name:
        BASES["flux_dev"](job, request)
    else:
        request.getfixturevalue("unet")
    photograph = a_face()
    parts = put_together(name, files, job.model)

    def run_node(type_, inputs):
        if type_ in nodes:
            return run(type_, **({**inputs, "iterations": 4} if type_ == SAMPLER else inputs)).result
        if type_ in parts.replaced:
            return parts.replaced[type_](**inputs)
        if hasattr(comfy_extras.nodes_flux, type_):
            return outputs_of(getattr(comfy_extras.nodes_flux, type_), **inputs)
        sources = [module(files.packs, *source) for pack, source in SOURCES.items() if pack in packs_of(name)]
        found = [each.NODE_CLASS_MAPPINGS[type_] for each in sources if type_ in each.NODE_CLASS_MAPPINGS]
        return outputs_of(found[0] if found else host_nodes.NODE_CLASS_MAPPINGS[type_], **inputs)

    given = {
        "LoadImage": (photograph, None),
        "UNETLoader": (job.model,),
        "VAELoader": (job.vae,),
        "CLIPTextEncode": (job.positive,),
        parts.latent: (job.latent,),
        "LoadFaceDiscriminator": (job.discriminator,),
        **parts.given,
    }
    graph = Graph(name, given, run_node)
    assert graph.entering("EncodeReferenceIdentity", "images") is photograph
    assert graph.entering(parts.adapter, "image") is photograph
    latent, image, report = graph.outputs(SAMPLER)
    assert latent["samples"].isfinite().all() and image.shape == (1, 64, 64, 3)
    similarity = [each for (each,) in report.similarity]
    assert len(similarity) == 5 and max(similarity[1:]) > similarity[0]
    assert report.settings["family"] == parts.family

    ending = graph.inputs(SAMPLER)
    settings = {"steps": ending["steps"], "cfg": ending["cfg"], "iterations": 0}
    job.positive, job.negative = ending["positive"], ending["negative"]
    with_it, _ = job.guide(model=ending["model"], **settings)
    model, job.positive = parts.plain(graph)
    job.negative = given["CLIPTextEncode"][0]
    without, _ = job.guide(model=model, **settings)
    assert (with_it - without).abs().max() > 1e-4, "the adapter has no effect"
    assert torch.equal(job.guide(model=model, **settings)[0], without)


def packs_of(name):
    (path,) = (path for path in WORKFLOWS if path.stem == name)
    return workflow.other_packs(read(path))


@pytest.mark.parametrize("name", NAMES)
def test_its_nodes_have_the_sockets_and_widgets_of_their_packs(files, name):
    (path,) = (path for path in WORKFLOWS if path.stem == name)
    for node in read(path)["nodes"]:
        if (pack := workflow.pack_of(node)) not in SOURCES:
            continue
        made = module(files.packs, *SOURCES[pack]).NODE_CLASS_MAPPINGS[node["type"]]
        described = made.INPUT_TYPES()
        known = {**described.get("required", {}), **described.get("optional", {})}
        assert {socket["name"] for socket in node["inputs"]} == set(known)
        widgets = [socket["name"] for socket in node["inputs"] if "widget" in socket]
        assert widgets == [
            n for n, (kind, *_) in known.items() if isinstance(kind, list | tuple) or kind in workflow.WIDGETS
        ]
        assert [output["type"] for output in node["outputs"]] == list(made.RETURN_TYPES)
        for widget, value in zip(widgets, node["widgets_values"], strict=True):
            kind, *options = known[widget]
            if isinstance(kind, str):
                assert options[0].get("min", value) <= value <= options[0].get("max", value)
            else:
                assert value in kind or "file" in widget, "a file is where the user put it"
