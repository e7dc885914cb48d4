"""A graph whose guidance is bypassed or not connected runs, and means KSampler."""

import logging

import pytest
import torch
from comfy_extras import nodes_custom_sampler as custom

from tests.helpers.guidance_inputs import pictures

OPTIONAL = {
    "AnchoredRectifiedSampler": "guidance",
    "AnchoredSampler": "guidance",
    "FindSeed": "guidance",
    "CombineGuidance": "guidance_1",
    "LimitGuidance": "guidance",
    "IdentityGuidance": "identity",
    "SaveIdentity": "identity",
    "MeasureIdentity": "identity",
    "DescribeFaceIdentity": "identity",
}


@pytest.mark.parametrize(("node", "socket"), OPTIONAL.items())
def test_no_node_needs_it(nodes, node, socket):
    inputs = nodes[node].INPUT_TYPES()
    assert inputs["optional"][socket][0] == "RECTIFID_GUIDANCE" and socket not in inputs["required"]


def test_there_is_one_type_of_guidance(nodes):
    """So that the editor offers each where it fits, and passes it on through a bypassed node."""
    types = {
        name: kind[0]
        for node in nodes.values()
        for inputs in (node.INPUT_TYPES().get("required", {}), node.INPUT_TYPES().get("optional", {}))
        for name, kind in inputs.items()
        if name.startswith(("guidance", "identity")) and name not in ("guidance_scale", "identity")
    }
    assert set(types.values()) == {"RECTIFID_GUIDANCE"}
    for name in ("EncodeReferenceIdentity", "LoadIdentity", "IdentityGuidance", "LimitGuidance", "CombineGuidance"):
        assert nodes[name].RETURN_TYPES[0] == "RECTIFID_GUIDANCE"


@pytest.mark.parametrize("node", ["IdentityGuidance", "LimitGuidance", "CombineGuidance"])
@pytest.mark.parametrize("given", [True, False])
def test_nothing_in_nothing_out(run, node, given):
    assert run(node, **({OPTIONAL[node]: None} if given else {})).result == (None,)


def test_a_bypassed_identity_guidance_passes_the_identity_on(run, sample, job):
    (with_node,) = run("IdentityGuidance", identity=job.identity).result
    latents = [sample(guidance=each).result[0]["samples"] for each in (job.identity, with_node)]
    assert torch.equal(*latents)


def test_the_sampler_is_ksampler(sample, job, caplog):
    caplog.set_level(logging.INFO)
    latent, image, report = sample(guidance=None, iterations=20, stop_at_similarity=0.5).result
    assert torch.equal(latent["samples"], job.ksampler())
    assert image.shape == (1, 64, 64, 3) and report.number == [0]
    assert "without guidance" in report.text() and "nan" not in report.text()
    assert "iteration 0 of 0" in caplog.text and "similarity" not in caplog.text


def test_the_sampler_of_custom_sampling_is_euler(run, job):
    sampler = run("AnchoredSampler", vae=job.vae).result[0]
    sigmas = custom.BasicScheduler.execute(job.model, "simple", 3, 1.0).result[0]
    draw = custom.SamplerCustom.execute
    euler = custom.KSamplerSelect.execute("euler").result[0]
    plain, ours = (
        draw(job.model, True, 5, 1.0, job.positive, job.negative, each, sigmas, job.latent).result[0]["samples"]
        for each in (euler, sampler)
    )
    assert torch.equal(plain, ours)


def test_find_seed_takes_the_first(run, job, caplog):
    caplog.set_level(logging.INFO)
    inputs = {"model": job.model, "positive": job.positive, "negative": job.negative, "latent_image": job.latent}
    seed, image = run("FindSeed", vae=job.vae, seed=41, count=5, steps=3, **inputs).result
    assert seed == 41 and image.shape == (1, 64, 64, 3)
    assert "seed 41" in caplog.text and "similarity" not in caplog.text


def test_nothing_is_saved_or_measured_and_both_say_so(run, caplog):
    assert "nothing was saved" in run("SaveIdentity").ui["text"][0]
    similarity, text = run("MeasureIdentity", images=pictures()).result
    assert similarity == 0 and "nothing was measured" in text
    assert caplog.text.count("no identity is connected") == 2


def test_a_prompt_stays_as_it_is(run):
    assert run("DescribeFaceIdentity", prompt="photo of a person").result == ("photo of a person", "")


def test_one_of_two_bypassed_leaves_the_other(run, sample, job):
    (single,) = run("CombineGuidance", guidance_2=job.identity).result
    assert list(single.terms) == ["guidance_2"]
    assert sample(guidance=single).result[2].similarity == sample(guidance=job.identity).result[2].similarity


def test_an_option_stays_set_through_the_next_node(run, job):
    mask = torch.ones(1, 64, 64)
    (first,) = run("IdentityGuidance", identity=job.identity, mask=mask, pixels=1.0).result
    (second,) = run("IdentityGuidance", identity=first, detect_every=3).result
    assert second.mask is first.mask and (second.detect_every, second.pixels) == (3, 0.0)
