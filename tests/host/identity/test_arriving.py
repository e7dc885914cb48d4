"""Whatever arrives at the identity nodes, from a switch or a wildcard node: a message in words, or an identity."""

import comfy.model_management
import pytest
import torch

from tests.helpers.guidance_inputs import pictures

JUNK = {
    "nothing": None,
    "a number": 7,
    "a text": "a text",
    "a list": [],
    "an object": object(),
    "a tensor": torch.zeros(3),
    "an empty tensor": torch.zeros(0),
    "a number as a tensor": torch.tensor(1.0),
}
any_junk = pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
some_junk = pytest.mark.parametrize("junk", [*JUNK.values()][1:], ids=[*JUNK][1:])


class TestIdentity:
    @some_junk
    @pytest.mark.parametrize(
        ("node", "inputs"),
        [
            ("SaveIdentity", {}),
            ("MeasureIdentity", {"images": pictures()}),
            ("DescribeFaceIdentity", {}),
            ("IdentityGuidance", {}),
        ],
    )
    def test_what_is_no_identity_is_named(self, run, identities, node, inputs, junk):
        with pytest.raises(ValueError, match="where an identity should: connect Encode Reference Identity"):
            run(node, identity=junk, **inputs)
        assert not list(identities.rglob("*.*"))

    @pytest.mark.parametrize("kind", ["color", "limited", "combined"])
    @pytest.mark.parametrize("node", ["SaveIdentity", "MeasureIdentity", "DescribeFaceIdentity", "IdentityGuidance"])
    def test_another_guidance_is_refused_by_name(self, run, job, identities, node, kind):
        guidance = {
            "color": lambda: run("ColorGuidance", image=pictures()),
            "limited": lambda: run("LimitGuidance", guidance=job.identity, start_iteration=1),
            "combined": lambda: run("CombineGuidance", guidance_1=job.identity),
        }[kind]().result[0]
        inputs = {"images": pictures()} if node == "MeasureIdentity" else {}
        with pytest.raises(ValueError, match=f"takes an identity, and here arrives .*{type(guidance).__name__}"):
            run(node, identity=guidance, **inputs)

    def test_an_identity_with_options_is_saved_and_measured(self, run, job, identities):
        (guidance,) = run("IdentityGuidance", identity=job.identity, pixels=1.0).result
        run("SaveIdentity", identity=guidance)
        assert list(identities.glob("*.safetensors"))
        assert run("MeasureIdentity", images=pictures(), identity=guidance).result[0] < 1


class TestDiscriminator:
    @any_junk
    @pytest.mark.parametrize("node", ["EncodeReferenceIdentity", "LoadIdentity"])
    def test_what_is_no_discriminator_is_named(self, run, job, identities, node, junk):
        run("SaveIdentity", identity=job.identity)
        if node == "EncodeReferenceIdentity":
            inputs = {"images": pictures(), "discriminator": [junk]}
        else:
            inputs = {"file": "identity_00001_.safetensors", "discriminator": junk}
        with pytest.raises(ValueError, match="where a discriminator should: connect Load Face Discriminator"):
            run(node, **inputs)


class TestImages:
    @any_junk
    def test_what_is_no_image_is_named(self, run, encode, job, junk):
        message = "where an image should: connect Load Image"
        for give in (
            lambda: encode([junk]),
            lambda: encode([pictures(), junk]),
            lambda: run("MeasureIdentity", images=junk, identity=job.identity),
            lambda: run("ColorGuidance", image=junk),
        ):
            with pytest.raises(ValueError, match=message):
                give()

    @pytest.mark.parametrize("shape", [(4, 4), (0, 4), (1, 0, 9, 3), (1, 9, 0, 3), (2, 9, 9, 3, 1), (1, 9, 9, 0)])
    def test_tensors_of_other_shapes_are_no_images(self, run, encode, job, shape):
        for give in (
            lambda: encode([torch.zeros(shape)]),
            lambda: run("MeasureIdentity", images=torch.zeros(shape), identity=job.identity),
            lambda: run("ColorGuidance", image=torch.zeros(shape)),
        ):
            with pytest.raises(ValueError, match="image"):
                give()


class TestMask:
    @pytest.mark.parametrize(
        "mask",
        [
            *[JUNK[name] for name in ("a number", "a text", "an object", "a tensor", "an empty tensor")],
            torch.ones(1, 0, 8),
            torch.ones(1, 8, 8) * torch.nan,
            torch.ones(40),
        ],
        ids=["number", "text", "object", "tensor", "empty", "without rows", "not finite", "one axis"],
    )
    def test_what_is_no_mask_is_named(self, run, encode, job, mask):
        for give in (
            lambda: encode(pictures(), mask=[mask]),
            lambda: run("IdentityGuidance", identity=job.identity, mask=mask),
            lambda: run("LimitGuidance", guidance=job.identity, mask=mask),
            lambda: run("ColorGuidance", image=pictures(), mask=mask),
        ):
            with pytest.raises(ValueError, match="mask"):
                give()


class TestCancel:
    @pytest.fixture
    def cancel_at(self, job, monkeypatch):
        """Presses Cancel at a crop, and counts the crops."""
        eye, calls = job.discriminator._discriminator, []
        crop = eye.crop

        def counted(number):
            def cropped(*arguments):
                calls.append(1)
                if len(calls) == number:
                    comfy.model_management.interrupt_current_processing()
                return crop(*arguments)

            monkeypatch.setattr(eye, "crop", cropped, raising=False)
            return calls

        yield counted
        comfy.model_management.interrupt_current_processing(False)

    @pytest.mark.parametrize("node", ["encode", "measure"])
    def test_many_images_heed_it_at_once(self, run, encode, job, cancel_at, node):
        calls, many = cancel_at(5), pictures(300, 16, 16)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            encode(many) if node == "encode" else run("MeasureIdentity", images=many, identity=job.identity)
        assert len(calls) == 5


class TestDoubts:
    def test_a_measured_face_that_is_doubtful_is_said_to_be(self, run, job, shown, monkeypatch):
        eye = job.discriminator._discriminator
        monkeypatch.setattr(eye, "doubt", lambda *_: "the face is turned, and may be nobody", raising=False)
        text = run("MeasureIdentity", images=pictures(2), identity=job.identity).result[1]
        lines = text.splitlines()
        assert lines[1] == "Warning: image 1: the face is turned, and may be nobody" and len(lines) == 4
        assert shown[-1][0] == text

    def test_a_recogniser_of_nan_is_not_measured(self, run, job, monkeypatch):
        eye = job.discriminator._discriminator
        monkeypatch.setattr(eye, "mean", torch.tensor(torch.nan))
        with pytest.raises(FloatingPointError, match="recogniser makes nan"):
            run("MeasureIdentity", images=pictures(), identity=job.identity)
