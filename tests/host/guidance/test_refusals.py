"""The message of each combination that cannot be."""

import comfy.model_management
import folder_paths
import onnx
import pytest
import torch

from tests.helpers.guidance_inputs import half, squares, terms_of


class TestRefusals:
    def test_nothing_weighs_anything(self, run, job):
        with pytest.raises(ValueError, match="all weights are 0, so there is nothing to guide"):
            run("CombineGuidance", guidance_1=job.identity, weight_1=0.0)

    def test_a_discriminator_that_is_gone(self, run, sample, job, pack):
        from dataclasses import replace

        gone = replace(job.identity, discriminator=job.discriminator._discriminator)
        (guidance,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=gone).result
        with pytest.raises(ValueError, match="The discriminator recogniser .* not loaded .*Run the node that loads it"):
            sample(guidance=guidance)

    @pytest.mark.parametrize(("what", "named"), [(7, "an? int"), ("a text", "a str")])
    def test_what_is_no_guidance(self, run, sample, job, what, named):
        """From a switch, say, whose socket takes anything."""
        message = f"{named} arrives where an identity or guidance should: connect Encode Reference Identity or a"
        with pytest.raises(ValueError, match=message):
            run("LimitGuidance", guidance=what)
        with pytest.raises(ValueError, match=message):
            sample(guidance=what)
        with pytest.raises(ValueError, match=message):
            run("CombineGuidance", guidance_1=job.identity, guidance_2=what)

    @pytest.mark.parametrize("guided", ["alone", "limited", "combined"])
    def test_no_vae(self, run, sample, job, guided):
        job.vae = None
        guidance = {
            "alone": job.identity,
            "limited": run("LimitGuidance", guidance=job.identity, start_percent=0.5).result[0],
            "combined": run("CombineGuidance", guidance_1=job.identity).result[0],
        }[guided]
        with pytest.raises(ValueError, match="There is no VAE. If it comes from a checkpoint loader.*use a Load VAE"):
            sample(guidance=guidance)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"detect_every": 0}, "detect_every is 0, and must be a whole number from 1"),
            ({"pixels": float("nan")}, "pixels is nan, and must be a number from 0"),
            ({"pixels": -1.0}, "pixels is -1.0, and must be a number from 0"),
            ({"mask": torch.ones(1, 8, 8) / 0}, "mask of where the identity belongs has values that are nan or inf"),
            ({"mask": torch.ones(1, 0, 8)}, "mask of where the identity belongs has no pixels, \\(1, 0, 8\\)"),
        ],
    )
    def test_options_that_cannot_be(self, run, job, options, message):
        with pytest.raises(ValueError, match=message):
            run("IdentityGuidance", identity=job.identity, **options)

    @pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0])
    def test_weights_that_cannot_be(self, run, job, weight):
        with pytest.raises(ValueError, match=f"weight_1 is {weight}, and must be a number from 0"):
            run("CombineGuidance", guidance_1=job.identity, weight_1=weight)

    def test_a_mask_that_is_lost_in_a_small_picture(self, run, sample, job):
        mask = torch.zeros(1, 640, 640)
        mask[0, 1, 1] = 1
        for node, kind in (("IdentityGuidance", {"identity": job.identity}), ("ColorGuidance", {"image": squares()})):
            with pytest.raises(
                ValueError, match="nothing is left of the mask in a picture of 64 x 64 pixels: paint over"
            ):
                sample(guidance=run(node, mask=mask, **kind).result[0])
        confined = run("LimitGuidance", guidance=job.identity, mask=mask).result[0]
        assert sample(guidance=confined).result[0]["samples"].isfinite().all(), "a soft mask may be that small"

    @pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.half, torch.float64])
    def test_masks_of_any_numbers(self, run, sample, job, kind):
        large = half("left", 640)
        plain, other = (
            sample(guidance=run("LimitGuidance", guidance=job.identity, mask=mask).result[0]).result[0]["samples"]
            for mask in (half("left"), large.to(kind))
        )
        assert torch.equal(plain, other)

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (torch.ones(1, 1, 1, 3), "reference image has only 1 x 1 pixels; use one of at least 8 x 8"),
            (torch.ones(0, 16, 16, 3), "no reference image: connect at least one"),
            (torch.ones(1, 16, 16, 2), "reference image must be grey, RGB or RGBA"),
            (255 * torch.ones(1, 16, 16, 3), "reference image has pixels from 255 to 255; they must be in 0 to 1"),
        ],
    )
    def test_pictures_that_are_none(self, run, job, images, message):
        with pytest.raises(ValueError, match=message):
            run("EncodeReferenceIdentity", discriminator=job.discriminator, images=images)

    def test_a_transparent_reference_stands_on_white(self, run, job):
        cut_out = torch.cat([squares(), torch.zeros(1, 40, 40, 1)], dim=-1)
        white = torch.ones(1, 40, 40, 3)
        first, second = (
            run("EncodeReferenceIdentity", discriminator=job.discriminator, images=each).result[0].identity.embeddings
            for each in (cut_out, white)
        )
        assert torch.equal(first, second)

    def test_an_identity_that_another_discriminator_encoded(self, run, sample, job, pack, parts, tmp_path, monkeypatch):
        """In a graph it may guide beside those of the connected one; from a file, it is refused."""
        network = onnx.load(parts.recogniser)
        network.doc_string = "another one"
        onnx.save(network, tmp_path / "stranger.onnx")
        stranger = pack("nodes.host.networks.discriminators").load_discriminator(tmp_path / "stranger.onnx")
        (theirs,) = run("EncodeReferenceIdentity", discriminator=stranger, images=squares(seed=2)).result[:1]
        (both,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=theirs).result
        report = sample(guidance=both, iterations=4).result[2]
        assert list(report.settings["discriminators"]) == ["recogniser", "stranger"]
        assert all(part["similarity"][-1] > part["similarity"][0] for part in terms_of(report).values())

        monkeypatch.setitem(folder_paths.folder_names_and_paths, "identities", ([str(tmp_path)], {".safetensors"}))
        run("SaveIdentity", identity=theirs, filename_prefix="theirs")
        (file,) = tmp_path.glob("theirs*.safetensors")
        with pytest.raises(ValueError, match="was encoded by stranger .* mean nothing to another.*here recogniser"):
            run("LoadIdentity", discriminator=job.discriminator, file=file.name)

    def test_the_host_may_unload_in_between(self, run, sample, job, other):
        (guidance,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=other).result
        before = sample(guidance=guidance).result[0]["samples"]
        comfy.model_management.unload_all_models()
        assert torch.equal(sample(guidance=guidance).result[0]["samples"], before)
