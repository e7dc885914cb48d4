"""Compositions whose effect a picture shows, on the embedded model: regions, inpainting, batches, second passes."""

from __future__ import annotations

from types import SimpleNamespace

import comfy.sampler_helpers
import pytest
import torch
from comfy_extras.nodes_mask import ImageCompositeMasked

import nodes as host_nodes
from tests.helpers.host_nodes import outputs_of
from tests.helpers.places import WEIGHTS, needs_weights

pytestmark = needs_weights

SIDE = 128
PERSON, ANOTHER = 5000009, 5000021
SCENE = "a smiling person in a red hat, blue background"
RULES = ["anchored", "accumulated", "fixed_point", "single_pass", "fully_anchored", "noise"]  # not: unanchored


@pytest.fixture
def world(job, nodes, pack):
    """The job on the embedded model; `prompt(text)`, `portrait(person, scene)`, `latent(batch)` make what it takes."""
    job.model, clip, job.vae = nodes["LoadDemoModel"].EXECUTE_NORMALIZED().result
    (job.discriminator,) = nodes["LoadDemoDiscriminator"].EXECUTE_NORMALIZED().result

    def prompt(text):
        return host_nodes.CLIPTextEncode().encode(clip, text)[0]

    def portrait(person, scene="a person"):
        return pack("nodes.demo").DrawDemoPortrait.execute(person, scene)[0]

    def latent(batch=1, side=SIDE):
        return host_nodes.EmptyLatentImage().generate(side, side, batch)[0]

    identity = pack("nodes.host.networks.discriminators").encode_images(job.discriminator, portrait(PERSON))
    job.identity = pack("rectifid_core.guidance.identity").IdentityGuidance(identity, job.discriminator)
    job.guidance = job.identity
    job.positive, job.negative, job.latent = prompt(SCENE), prompt(""), latent()
    return SimpleNamespace(job=job, clip=clip, prompt=prompt, portrait=portrait, latent=latent)


def guide(job, **settings):
    """At the quickstart's settings, with fewer iterations: the latent, the picture, and how similar it became."""
    settings = {
        "steps": 4,
        "iterations": 10,
        "scale": 2.0,
        "scale_unit": "latent",
        "views": 4,
        "keep": "best",
        **settings,
    }
    latent, image = job.guide(**settings)
    similarity = torch.stack([iterate.similarity for iterate in job.iterates])
    return SimpleNamespace(latent=latent, image=image, before=similarity[0], after=similarity.max(dim=0).values)


def box(left, top, width, height):
    """A mask of the picture's size."""
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, top : top + height, left : left + width] = 1
    return mask


FACE = (28, 36, 72, 72)


# --- regional prompts


def test_regional_prompts_hold_while_the_picture_gets_its_identity(world):
    job, half = world.job, SIDE // 2
    sides = [
        (world.prompt(f"a smiling person in a white shirt, {color} background"), x)
        for color, x in (("red", 0), ("blue", half))
    ]
    regions = [
        host_nodes.ConditioningSetMask().append(each, box(x, 0, half, SIDE), "default", 1.0)[0] for each, x in sides
    ]
    (job.positive,) = host_nodes.ConditioningCombine().combine(*regions)
    assert torch.equal(guide(job, steps=3, iterations=0).latent, job.ksampler())
    guided = guide(job)
    assert guided.after > guided.before + 0.2
    red, _, blue = guided.image[0, :, : SIDE // 4].unflatten(2, (2, half)).mean(dim=(1, 3))
    assert red[0] > blue[0] + 0.03 and blue[1] > red[1] + 0.1


# --- inpainting


def put_noise_mask(world):
    (latent,) = host_nodes.VAEEncode().encode(world.job.vae, world.portrait(ANOTHER, SCENE))
    (world.job.latent,) = host_nodes.SetLatentNoiseMask().set_mask(latent, box(*FACE))


def put_soft_noise_mask(world):
    put_noise_mask(world)
    world.job.latent["noise_mask"] = 0.7 * world.job.latent["noise_mask"]


def put_grey_hole(world):
    picture = world.portrait(ANOTHER, SCENE)
    (world.job.latent,) = host_nodes.VAEEncodeForInpaint().encode(world.job.vae, picture, box(*FACE), 6)


def outside(job):
    """Where the host restores the latent."""
    shape = job.latent["samples"].shape
    return comfy.sampler_helpers.prepare_mask(job.latent["noise_mask"], shape, "cpu").expand(shape) == 0


@pytest.mark.parametrize("put", [put_noise_mask, put_soft_noise_mask, put_grey_hole])
@pytest.mark.parametrize("rule", RULES)
def test_inpainting_changes_the_masked_part_only(world, put, rule):
    """Outside of the mask the latent is KSampler's to the bit, by every rule but the one without a reference."""
    job = world.job
    put(world)
    unguided, protected = job.ksampler(), outside(job)
    assert 0.3 < protected.float().mean() < 0.9
    latent = guide(job, steps=3, iterations=4, rule=rule, views=1, keep="last").latent
    assert torch.equal(latent[protected], unguided[protected])
    assert (latent - unguided)[~protected].abs().max() > 0.1


def test_inpainting_gives_the_picture_its_identity(world):
    put_noise_mask(world)
    guided = guide(world.job)
    assert guided.after > guided.before + 0.2


# --- image to image


def test_image_to_image_starts_from_the_picture(world):
    job = world.job
    (job.latent,) = host_nodes.VAEEncode().encode(job.vae, world.portrait(ANOTHER, SCENE))
    assert torch.equal(guide(job, steps=3, iterations=0, denoise=0.6).latent, job.ksampler(denoise=0.6))
    start, guided = job.latent["samples"], guide(job, denoise=0.6)
    job.latent = world.latent()
    free = guide(job)
    near, far = ((each.latent - start).norm() for each in (guided, free))
    assert guided.after > guided.before + 0.1
    assert near < 0.8 * far


# --- batches


def sample_of(latent, i):
    """Sample i of a batch, which remembers where it came from."""
    (one,) = host_nodes.LatentFromBatch().frombatch(latent, i, 1)
    return one


@pytest.mark.parametrize("gradient", ["windowed", "full"])
def test_each_seed_of_a_batch_is_guided_as_in_a_run_of_its_own(world, gradient):
    """Its noise, its anchor and its guidance; the views are drawn by the place in the batch, so here are none."""
    job = world.job
    job.latent = batch = world.latent(3)
    together = guide(job, views=0, iterations=5, gradient=gradient)
    unguided = job.iterates[0].latent
    for i in range(3):
        job.latent = sample_of(batch, i)
        single = guide(job, views=0, iterations=5, gradient=gradient)
        torch.testing.assert_close(together.latent[i], single.latent[0], atol=5e-3, rtol=0)
    distances = torch.cdist(together.latent.flatten(1), unguided.flatten(1))
    assert (distances.argmin(dim=1) == torch.arange(3)).all(), "each stays near its own unguided picture"
    assert (together.after > together.before + 0.1).all()


def test_each_prompt_of_a_batch_is_guided_as_in_a_run_of_its_own(world, run):
    job = world.job
    texts = [f"a sad person in a {color} hat, gray background" for color in ("red", "green")]
    job.positive, count = run("EncodePromptBatch", clip=world.clip, prompts="\n\n ".join(texts)).result
    assert count == 2
    job.latent = batch = world.latent(count)
    assert torch.equal(guide(job, steps=3, iterations=0).latent, job.ksampler())
    together = guide(job, views=0, iterations=5)
    for i, text in enumerate(texts):
        job.positive, job.latent = world.prompt(text), sample_of(batch, i)
        single = guide(job, views=0, iterations=5)
        torch.testing.assert_close(together.latent[i], single.latent[0], atol=1e-2, rtol=0)


# --- a second pass at a higher resolution


@pytest.mark.parametrize("seed", [5, 6])
def test_a_second_pass_preserves_the_identity(world, seed):
    """At 192 pixels, half as much again; KSampler by itself loses the identity there."""
    job = world.job
    first = guide(job, seed=seed)
    (larger,) = host_nodes.ImageScale().upscale(first.image.movedim(1, -1), "lanczos", 192, 192, "disabled")
    (job.latent,) = host_nodes.VAEEncode().encode(job.vae, larger)
    second = guide(job, seed=seed, denoise=0.4, iterations=8)
    assert second.image.shape == (1, 3, 192, 192)
    assert second.after > first.after - 0.05
    assert second.before < second.after - 0.1


@pytest.mark.parametrize("number", [1, 3])
def test_a_small_face_that_is_drawn_larger_becomes_the_references(world, run, pack, number):
    """Of four people in 256 x 64 pixels one; the judge, which took no part, looks at it in its place."""
    job = world.job
    judge = pack("nodes.host.networks.discriminators").load_discriminator(WEIGHTS / "recogniser_judge.onnx")
    encoded = run("EncodeReferenceIdentity", discriminator=judge, images=world.portrait(PERSON))
    row = torch.cat([world.portrait(ANOTHER + i, "a smiling person, blue background") for i in range(4)], dim=2)
    (group,) = host_nodes.ImageScale().upscale(row, "area", 256, 64, "disabled")
    cut = {"discriminator": job.discriminator, "image": group, "which": "index", "index": number}
    crop, mask, *box = run("CropAroundSubject", **cut, width=SIDE, height=SIDE, margin=0.0).result
    (job.latent,) = host_nodes.VAEEncode().encode(job.vae, crop)
    job.positive = world.prompt("a smiling person, blue background")
    drawn = guide(job, seed=2, denoise=0.6, scale=1.0)
    assert box == [64 * number, 0, 64, 64]
    (small,) = host_nodes.ImageScale().upscale(drawn.image.movedim(1, -1), "area", *box[2:], "disabled")
    put = {"destination": group, "source": small, "x": box[0], "y": box[1], "resize_source": False, "mask": mask}
    (after,) = outputs_of(ImageCompositeMasked, **put)

    def judged(picture):
        place = picture[:, :, 64 * number : 64 * number + 64]
        return run("MeasureIdentity", images=place, identity=encoded.result[0]).result[0]

    assert judged(after) > 0.7 and judged(after) > judged(group) + 0.2
    away = [i for i in range(256) if i // 64 != number]
    assert torch.equal(after[:, :, away], group[:, :, away])
