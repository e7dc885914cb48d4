"""Identity guidance with masks, and by several people."""

from types import SimpleNamespace

import pytest
import torch

import nodes as host_nodes
from tests.helpers.guidance_inputs import half, squares, terms_of


class TestMask:
    def test_only_what_it_covers_is_looked_at(self, run, job, sample):
        (left,) = run("IdentityGuidance", identity=job.identity, mask=half("left", 32)).result
        energy = left.energy(views=0)
        with torch.inference_mode(False):
            image = squares(size=64).movedim(-1, 1).clone().requires_grad_()
            (slope,) = torch.autograd.grad(energy(image, 0).energy.sum(), image)
        assert slope[..., :32].any() and not slope[..., 32:].any()
        whole, part = (sample(guidance=each).result[0]["samples"] for each in (job.identity, left))
        assert not torch.equal(whole, part)

    def test_a_mask_from_the_hosts_nodes(self, run, sample, job):
        from comfy_extras.nodes_mask import SolidMask

        node = SolidMask()
        solid = getattr(node, "solid", None) or node.execute
        mask = solid(1.0, 128, 128)[0]
        (everywhere,) = run("IdentityGuidance", identity=job.identity, mask=mask).result
        latents = [sample(guidance=each).result[0]["samples"] for each in (job.identity, everywhere)]
        torch.testing.assert_close(*latents)

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (torch.zeros(1, 64, 64), "mask is empty.*identity"),
            (torch.ones(3, 64, 64), "3 masks"),
        ],
    )
    def test_masks_that_cannot_be_meant_are_refused(self, run, job, mask, message):
        with pytest.raises(ValueError, match=message):
            run("IdentityGuidance", identity=job.identity, mask=mask)

    def test_a_mask_of_another_shape_is_refused(self, run, sample, job):
        (guidance,) = run("IdentityGuidance", identity=job.identity, mask=torch.ones(1, 64, 96)).result
        for each in (guidance, run("CombineGuidance", guidance_1=guidance).result[0]):
            with pytest.raises(ValueError, match="mask.*96 x 64.*64 x 64"):
                sample(guidance=each)


class TestPeople:
    """A detector that plays a script stands before the small recogniser."""

    @pytest.fixture
    def people(self, job, pack, monkeypatch):
        Region = pack("rectifid_core.images.regions").Region
        left, right = Region((0, 0, 32, 64), 0.9), Region((32, 0, 64, 64), 0.8)
        eye = job.discriminator._discriminator
        encode = pack("nodes.host.networks.discriminators").encode_images
        seen = SimpleNamespace(regions=[left, right], left=left, right=right)
        guide = pack("rectifid_core.guidance.identity").IdentityGuidance
        encoded = [encode(job.discriminator, squares(seed=seed)) for seed in (4, 5)]
        seen.identities = [guide(identity, job.discriminator) for identity in encoded]
        monkeypatch.setattr(eye, "detects", True, raising=False)
        monkeypatch.setattr(eye, "noun", "face", raising=False)
        monkeypatch.setattr(eye, "locate", lambda image, query=None: [seen.regions] * len(image), raising=False)
        return seen

    def guidance(self, run, people):
        first, second = people.identities
        return run("CombineGuidance", guidance_1=first, guidance_2=second).result[0]

    def test_two_faces_for_two_people(self, run, sample, people):
        report = sample(guidance=self.guidance(run, people), iterations=4).result[2]
        for part in terms_of(report).values():
            assert part["found"] == [[True]] * 5 and part["similarity"][-1] > part["similarity"][0]

    def test_one_face_for_two_people(self, run, sample, people, caplog):
        people.regions = [people.left]
        latent, image, report = sample(guidance=self.guidance(run, people), iterations=4).result
        found = [part["found"][0][0] for part in terms_of(report).values()]
        assert sorted(found) == [False, True] and report.found == [[True]] * 5
        assert report.similarity[-1] > report.similarity[0]
        missing = f"guidance_{found.index(False) + 1}"
        assert f"What {missing} is to guide is not in the unguided picture; the others" in caplog.text
        assert f"{missing}: never found in the picture" in report.text()

    def test_no_face_for_two_people(self, run, sample, people):
        people.regions = []
        with pytest.raises(ValueError, match="no face in the unguided picture"):
            sample(guidance=self.guidance(run, people))

    def test_no_face_where_the_mask_is(self, run, sample, people):
        people.regions = [people.left]
        (guidance,) = run("IdentityGuidance", identity=people.identities[0], mask=half("right")).result
        with pytest.raises(ValueError, match="no face in the unguided picture.*mask"):
            sample(guidance=guidance)


@pytest.mark.parametrize("sides", [("left", "right"), ("right", "left")])
def test_masks_swap_the_demos_people(nodes, run, sides):
    """Two portraits side by side, drawn anew by half as two others, by the guiding recogniser's own word.

    Measured: 0.82 to 0.92 on the own side, 0.23 to 0.40 on the other.  The demo model was not made for pictures this
    wide, so that only the recogniser sees people in them.
    """
    model, clip, vae = nodes["LoadDemoModel"].execute().result
    positive, negative = (
        host_nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("a person in a red hat, green background", "")
    )
    portraits = [run("DrawDemoPortrait", identity=5000003 + n).result[0] for n in (98, 99, 0, 4)]
    scene, references = torch.cat(portraits[:2], dim=2), portraits[2:]
    (eye,) = run("LoadDemoDiscriminator").result
    people = [run("EncodeReferenceIdentity", discriminator=eye, images=each).result[0] for each in references]
    masks = {"left": torch.zeros(1, 128, 256), "right": torch.zeros(1, 128, 256)}
    masks["left"][..., :128], masks["right"][..., 128:] = 1, 1
    guidances = [
        run("IdentityGuidance", identity=each, mask=masks[side]).result[0]
        for each, side in zip(people, sides, strict=True)
    ]
    image = run(
        "AnchoredRectifiedSampler",
        settings=run("AnchoredSamplerSettings", preset="custom", views=2).result[0],
        model=model,
        positive=positive,
        negative=negative,
        latent_image=host_nodes.VAEEncode().encode(vae, scene)[0],
        vae=vae,
        guidance=run("CombineGuidance", guidance_1=guidances[0], guidance_2=guidances[1]).result[0],
        seed=1,
        iterations=6,
        guidance_scale=2.0,
        denoise=0.5,
    ).result[1]
    halves = {"left": image[:, :, :128], "right": image[:, :, 128:]}
    for person, own, others in zip(people, sides, sides[::-1], strict=True):
        own, others = (run("MeasureIdentity", images=halves[side], identity=person).result[0] for side in (own, others))
        assert own > 0.7 and own > others + 0.3
