"""Subjects are located, encoded and guided."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from rectifid_core.guidance.identity import IdentityGuidance
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.identity.files import load_identity, save_identity
from rectifid_core.images.regions import Region
from rectifid_core.solver.solve import solve
from tests.helpers import subject_folders
from tests.helpers.places import SHARED
from tests.helpers.subject_folders import picture
from tests.helpers.worlds import pushed_together, rng


class TestLocate:
    def test_without_a_detector_the_middle(self, load):
        dino = load()
        (regions,) = dino.locate(picture(40, 60)[None])
        assert [region.box for region in regions] == [(10, 0, 50, 40)]
        assert dino.locate(torch.zeros(2, 3, 32, 32)) == [[Region((0, 0, 32, 32))]] * 2
        assert dino.image_query(picture(40, 60), regions[0]) is None and dino.text_query(" ") is None

    def test_words_without_a_detector(self, load):
        with pytest.raises(ValueError, match="a dog.*without a detector"):
            encode_identity(load(), [picture(80, 80)], text="a dog")

    @pytest.mark.parametrize("detector", subject_folders.DETECTORS)
    def test_text(self, load, detector):
        owl = load(detector=detector)
        image = picture(80, 120)
        identity = encode_identity(owl, [image, picture(64, 64, 1)], text="a dog")
        best = owl.locate(image[None], owl.text_query("a dog"))[0][0]
        assert identity.references[0].chosen == best
        assert identity.query.shape == (2, 32) and identity.embeddings.shape == (2, 32)
        crop = owl.crop(image[None], [best])
        torch.testing.assert_close(identity.crops[:1], crop)
        torch.testing.assert_close(identity.query[0], owl.image_query(image, best))

    def test_mask_and_whole(self, load):
        owl = load(detector="owlvit")
        image, mask = picture(80, 120), torch.zeros(80, 120)
        mask[10:30, 20:90] = 1
        masked = encode_identity(owl, [image], masks=[mask])
        assert masked.references[0].chosen.box == (20, 10, 90, 30)
        torch.testing.assert_close(masked.query[0], owl.image_query(image, masked.references[0].chosen))
        assert masked.doubts == (
            "the subject is only 70 x 20 pixels, so the likeness may be poor; use a picture in which it is at least 64 "
            "pixels wide and high",
        )
        middle = encode_identity(load(), [image])
        assert middle.references[0].chosen.box == (20, 0, 100, 80) and middle.query is None and middle.doubts == ()

    def test_nothing_that_the_words_name(self, load):
        owl = load(detector="owlvit", threshold=1.0)
        with pytest.raises(ValueError, match="reference image.*no subject"):
            encode_identity(owl, [picture(64, 64)], text="a dog")

    def test_doubtful_regions_go_down_to_a_quarter_of_the_threshold(self, load):
        query = load(detector="owlvit").text_query("a dog")
        image = picture(64, 64)[None]
        best = load(detector="owlvit").locate(image, query)[0][0].score
        assert load(detector="owlvit", threshold=3.9 * best).locate(image, query)[0]
        assert load(detector="owlvit", threshold=4.1 * best).locate(image, query) == [[]]

    def test_on_another_device(self, load):
        owl = load(detector="owlvit")
        identity = encode_identity(owl, [picture(64, 64)])
        image = torch.zeros(1, 3, 64, 64, device="meta")
        with pytest.raises(ValueError, match="dinov2 with owlvit.*cpu.*meta"):
            owl.locate(image, identity.query)

    def test_an_identity_belongs_to_its_detector(self, load, tmp_path):
        """A query of one detector means nothing to another, even where the numbers would fit."""
        owl = load(detector="owlvit")
        save_identity(encode_identity(owl, [picture(64, 64)]), tmp_path / "dog.safetensors")
        loaded = load_identity(tmp_path / "dog.safetensors", load(detector="owlvit", dtype=torch.bfloat16))
        assert loaded.query.shape == (1, 32)
        for other in (load(detector="owlv2"), load()):
            with pytest.raises(ValueError, match="dinov2 with owlvit.*dinov2"):
                load_identity(tmp_path / "dog.safetensors", other)

    @pytest.mark.skipif(not (SHARED / "dog.jpg").is_file(), reason="the shared test pictures are not here")
    def test_a_photograph(self, load):
        photo = torch.from_numpy(np.array(Image.open(SHARED / "dog.jpg").convert("RGB")))
        photo = photo.movedim(-1, 0).float() / 255
        owl = load(detector="owlv2")
        identity = encode_identity(owl, [photo], text="a dog")
        assert identity.crops.shape == (1, 3, 28, 28) and identity.embedding.isfinite().all()
        observation = IdentityGuidance(identity, owl, pixels=1.0).energy(views=2)(photo[None].requires_grad_(), 0)
        assert observation.energy.isfinite().all() and observation.found.all()


@pytest.mark.parametrize(("detector", "pixels"), [(None, 0.0), ("owlvit", 0.0), ("owlv2", 0.5)])
def test_guided(load, detector, pixels):
    """The region moves from iterate to iterate with a detector, and the similarity rises all the same."""
    discriminator = load(detector=detector)
    identity = encode_identity(discriminator, [picture(64, 64, seed=5)], text="a dog" if detector else "")
    energy = IdentityGuidance(identity, discriminator, pixels=pixels).energy(views=2)
    z0 = torch.randn(2, 3, 48, 48, generator=rng(2))
    iterates = list(solve(pushed_together(), torch.sigmoid, energy, z0, iterations=6, scale=5.0))
    assert iterates[0].found.all()
    similarity = torch.stack([iterate.similarity for iterate in iterates])
    assert (similarity[1:].amax(dim=0) > similarity[0] + 0.05).all()
