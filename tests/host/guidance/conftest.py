"""Guidance beside that of the small job.  The host is imported in fixtures, since there may be none."""

from __future__ import annotations

import json

import pytest
import torch

from tests.helpers.guidance_inputs import CLIP_VISION, squares


@pytest.fixture
def load_clip_vision(tmp_path):
    """The host's CLIPVision of a configuration, with random weights."""
    from comfy.clip_vision import ClipVisionModel

    def load(config=CLIP_VISION, **changes):
        path = tmp_path / "clip_vision.json"
        path.write_text(json.dumps({**config, **changes}))
        clip_vision = ClipVisionModel(path)
        generator = torch.Generator().manual_seed(7)
        state = {name: torch.randn(w.shape, generator=generator) for name, w in clip_vision.get_sd().items()}
        norms = {name for name in state if "norm" in name and name.endswith("weight")}
        scaled = {name: 0.1 * w + (name in norms) if w.ndim < 2 else 0.3 * w for name, w in state.items()}
        assert clip_vision.load_sd(scaled) == ([], [])
        return clip_vision

    return load


@pytest.fixture
def demo(nodes, job):
    """The job with the embedded model, for the sampler node."""
    import nodes as host_nodes

    job.model, clip, job.vae = nodes["LoadDemoModel"].EXECUTE_NORMALIZED().result
    job.positive = host_nodes.CLIPTextEncode().encode(clip, "a smiling person, gray background")[0]
    job.negative = host_nodes.CLIPTextEncode().encode(clip, "")[0]
    job.latent = host_nodes.EmptyLatentImage().generate(128, 128, 1)[0]
    return {"steps": 4, "guidance_scale": 2.0, "seed": 1}


@pytest.fixture
def other(run, job):
    """A second identity of the same discriminator."""
    return run("EncodeReferenceIdentity", discriminator=job.discriminator, images=squares(seed=4)).result[0]


@pytest.fixture
def colors(run):
    return run("ColorGuidance", image=squares(seed=8)).result[0]
