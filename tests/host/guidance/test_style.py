"""Style guidance, as a graph does it; each bad input with its message."""

from __future__ import annotations

import comfy.clip_vision
import comfy.model_management
import pytest
import torch

from tests.helpers.guidance_inputs import CLIP_VISION, DINO, SIGLIP, pictures
from tests.helpers.places import needs_weights


class TestStyle:
    @needs_weights
    def test_the_embedded_one_tells_scenes_and_not_people(self, nodes, run):
        clip_vision = nodes["LoadDemoVision"].EXECUTE_NORMALIZED().result[0]
        scenes = (
            "a person in a green shirt, yellow background",
            "a sad person in a red hat, blue background, dim light",
        )
        features = [
            clip_vision.encode_image(run("DrawDemoPortrait", identity=identity, prompt=scene).result[0]).image_embeds
            for scene in scenes
            for identity in (5000007, 5000008)
        ]
        cosine = torch.nn.functional.cosine_similarity
        same_scene = min(cosine(features[0], features[1]), cosine(features[2], features[3]))
        same_person = max(cosine(features[0], features[2]), cosine(features[1], features[3]))
        assert same_scene > 0.6 and same_scene > same_person + 0.4

    @pytest.mark.parametrize("features", ["embedding", "gram"])
    @pytest.mark.parametrize("config", [CLIP_VISION, SIGLIP, DINO], ids=lambda config: config["model_type"])
    def test_it_moves_the_style(self, run, sample, load_clip_vision, config, features):
        changes = {"image_size": 28} if config is not DINO else {}
        clip_vision = load_clip_vision(config, **changes)
        (guidance,) = run("StyleGuidance", clip_vision=clip_vision, image=pictures(), features=features).result
        report = sample(guidance=guidance, update_rule="accumulated", iterations=4).result[2]
        assert report.similarity[-1][0] > report.similarity[0][0] + 1e-4
        assert report.energy[0][0] > 0

    def test_it_sees_what_the_host_sees(self, run, load_clip_vision):
        """To the rounding of the host's own preprocessing, which has no gradient."""
        clip_vision, image = load_clip_vision(), pictures(2, 28, 28)
        (guidance,) = run("StyleGuidance", clip_vision=clip_vision, image=image).result
        expected = torch.nn.functional.normalize(clip_vision.encode_image(image).image_embeds, dim=1)
        torch.testing.assert_close(guidance.reference.embeddings, expected.clone(), atol=2e-2, rtol=0)
        assert guidance.energy(views=0)(image.movedim(-1, 1).clone(), 0).similarity.max() < 1  # to the mean of two
        (one,) = run("StyleGuidance", clip_vision=clip_vision, image=image[:1]).result
        observation = one.energy(views=0)(image[:1].movedim(-1, 1).clone(), 0)
        assert observation.similarity == pytest.approx(1) and observation.energy == pytest.approx(0, abs=1e-3)

    @pytest.mark.parametrize("features", ["embedding", "gram"])
    def test_its_gradient_is_that_of_a_finite_difference(self, run, pack, load_clip_vision, features):
        clip_vision = load_clip_vision()
        (guidance,) = run("StyleGuidance", clip_vision=clip_vision, image=pictures(), features=features).result
        with pack("nodes.host.gradient.autograd").differentiable([clip_vision.model]):
            energy = guidance.energy(views=0)
            image = pictures(1, 32, 32, seed=1).movedim(-1, 1).clone().requires_grad_()
            (gradient,) = torch.autograd.grad(energy(image, 0).energy.sum(), image)
            step = 0.01 * gradient / gradient.norm()
            with torch.no_grad():
                difference = energy(image + step, 0).energy - energy(image - step, 0).energy
        assert difference.item() == pytest.approx(2 * 0.01 * gradient.norm().item(), rel=0.02)

    def test_afterwards_the_host_has_its_network_as_before(self, run, sample, job, load_clip_vision):
        clip_vision, image = load_clip_vision(), pictures()
        tensors = dict(clip_vision.model.named_parameters())
        values = {name: tensor.clone() for name, tensor in tensors.items()}
        before = clip_vision.encode_image(image).image_embeds
        (guidance,) = run("StyleGuidance", clip_vision=clip_vision, image=image).result
        first, again = (sample(guidance=guidance).result[1] for _ in range(2))
        assert torch.equal(first, again)
        after = dict(clip_vision.model.named_parameters())
        assert after.keys() == tensors.keys() and all(after[name] is tensors[name] for name in tensors)
        assert all(torch.equal(after[name], values[name]) for name in values)
        assert torch.equal(clip_vision.encode_image(image).image_embeds, before)
        assert job.ksampler().isfinite().all()

    def test_the_host_loads_it_with_the_model(self, run, sample, job, load_clip_vision):
        clip_vision = load_clip_vision()
        (guidance,) = run("StyleGuidance", clip_vision=clip_vision, image=pictures()).result
        comfy.model_management.unload_all_models()
        report = sample(guidance=guidance).result[2]
        loaded = [each.model for each in comfy.model_management.current_loaded_models]
        assert any(patcher is clip_vision.patcher for patcher in loaded)
        (digest,) = report.settings["discriminators"].values()
        other = run("StyleGuidance", clip_vision=clip_vision, image=pictures(), features="gram").result[0]
        assert len(digest) == 64 and other.networks[0].digest != digest

    def test_a_twin_that_is_not_paged_sees_the_same(self, pack, load_clip_vision):
        """What newer hosts are told where they page weights in and out, which no CPU does."""
        clip_vision = load_clip_vision()
        if not hasattr(clip_vision, "config"):
            pytest.skip("this host pages no weights")
        twin = pack("nodes.host.networks.style")._twin(clip_vision, disable_dynamic=True)
        assert twin.model is not clip_vision.model
        pixels = pictures(1, 28, 28).movedim(-1, 1)
        for mine, its in zip(twin.model(pixel_values=pixels), clip_vision.model(pixel_values=pixels), strict=True):
            assert mine is its is None or torch.equal(mine, its)

    def test_bad_inputs(self, run, load_clip_vision):
        with pytest.raises(ValueError, match="no CLIP vision model.*Load CLIP"):
            run("StyleGuidance", clip_vision=None, image=pictures())
        with pytest.raises(ValueError, match="NaFlex"):
            clip_vision = load_clip_vision()
            clip_vision.image_size = -1
            run("StyleGuidance", clip_vision=clip_vision, image=pictures())
        with pytest.raises(ValueError, match="reference image.*50 x 4"):
            run("StyleGuidance", clip_vision=load_clip_vision(), image=pictures(height=4))
