"""A detector that plays a script: what is followed from one iterate to the next, and what becomes of a lost region."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.guidance.identity import FACTOR, PIXEL_FACTOR, IdentityGuidance
from rectifid_core.guidance.tracking import Tracker
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.report.report import Report
from rectifid_core.solver.best import Best
from rectifid_core.solver.solve import solve
from tests.helpers.scripted import FAINT, FAINTER, LEFT, NEAR_RIGHT, RIGHT, Scripted, pictures, replace_script
from tests.helpers.worlds import MinimalFlow, rng


def reference():
    eye = Scripted([[LEFT]])
    return IdentityGuidance(encode_identity(eye, [pictures(seed=9)[0]]), eye, color_first=False)


def follow(*script, detect_every=1):
    track = Tracker(Scripted(*script), detect_every=detect_every)
    return [track(pictures(len(script[0])), i) for i in range(len(script) * detect_every)]


def test_the_first_is_followed_although_another_comes_first_later():
    places = follow([[RIGHT, LEFT]], [[LEFT, NEAR_RIGHT]], [[LEFT, RIGHT]])
    assert [regions for regions, _ in places] == [[RIGHT], [NEAR_RIGHT], [RIGHT]]
    assert all(found == [True] for _, found in places)


def test_where_it_is_lost_the_last_region_stays():
    places = follow([[LEFT]], [[]], [[LEFT]])
    assert [regions for regions, _ in places] == [[LEFT]] * 3
    assert [found for _, found in places] == [[True], [False], [True]]


def test_doubtful_regions_are_a_last_resort():
    places = follow([[FAINT, FAINTER]], [[RIGHT, FAINT]])
    assert [regions for regions, _ in places] == [[FAINT], [RIGHT]]


def test_each_sample_is_followed_by_itself():
    regions, found = follow([[LEFT], []], [[], [RIGHT]])[1]
    assert regions == [LEFT, RIGHT] and found == [False, True]


def test_the_detector_runs_at_every_nth_iterate():
    track = Tracker(eye := Scripted([[LEFT]], [[RIGHT]]), detect_every=3)
    places = [track(pictures(), i)[0] for i in range(5)]
    assert eye.calls == 2 and places == [[LEFT]] * 3 + [[RIGHT]] * 2
    with pytest.raises(ValueError, match="n >= 1, not 0"):
        Tracker(eye, detect_every=0)


def test_a_sample_in_which_nothing_was_ever_found():
    energy = replace_script(reference(), [[LEFT], []]).energy(views=0)
    image = pictures(2).requires_grad_()
    observation = energy(image, 0)
    assert observation.found.tolist() == [True, False]
    assert observation.similarity.isnan().tolist() == [False, True]
    assert observation.energy[1] == 0 and observation.energy[0] == FACTOR * (1 - observation.similarity[0])
    (gradient,) = torch.autograd.grad(observation.energy.sum(), image)
    assert gradient[0].any() and not gradient[1].any()


def test_views_do_not_depend_on_which_samples_have_a_region():
    image = pictures(2)
    both = replace_script(reference(), [[LEFT], [RIGHT]]).energy(3, 1)(image, 4)
    one = replace_script(reference(), [[], [RIGHT]]).energy(3, 1)(image, 4)
    assert one.energy[1] == pytest.approx(both.energy[1].item())


def run(script, iterations=4, batch=1, **options):
    guidance = replace(replace_script(reference(), *script), **options)
    z0 = torch.randn(batch, 3, 24, 24, generator=rng(3), dtype=torch.float64)
    return list(solve(MinimalFlow(), torch.sigmoid, guidance.energy(views=0), z0, iterations=iterations))


def test_a_lost_face_does_not_end_the_run():
    iterates = run([[[LEFT]], [[]], [[]], [[LEFT]]])
    assert [bool(each.found) for each in iterates] == [True, False, False, True, True]
    similarity = [each.similarity.item() for each in iterates]
    assert similarity == sorted(similarity), "it is guided at the place where the face was"
    report = Report({})
    for each in iterates:
        report.append(each)
    assert "lost sight of it in 2 of 5 pictures" in report.text()


def test_the_best_picture_is_one_in_which_it_was_found():
    best = Best()
    for each in run([[[LEFT]], [[LEFT]], [[]]]):
        best.update(each)
    assert best.number.item() == 1


def test_a_picture_without_it_stays_unguided_beside_one_with():
    iterates = run([[[LEFT], []]], batch=2)
    first, last = iterates[0].latent, iterates[-1].latent
    assert (last[0] != first[0]).any() and (last[1] == first[1]).all()
    report, best = Report({}), Best()
    for each in iterates:
        report.append(each)
        best.update(each)
    assert "sample 1: nothing to compare was found" in report.text()
    assert best.number.tolist() == [4, 0]


def test_the_nearest_reference_counts():
    images = pictures(3, seed=5)
    eye = Scripted([[LEFT]])
    nearest = encode_identity(eye, images, matching="nearest")
    embeddings = nearest.embeddings
    assert nearest.similarity(embeddings).tolist() == pytest.approx([1, 1, 1])
    mean = encode_identity(eye, images, matching="mean")
    assert mean.similarity(embeddings).max() < 1
    without = encode_identity(eye, images, matching="nearest", weights=[1, 0, 1])
    torch.testing.assert_close(without.similarity(embeddings)[1], (embeddings[1] @ embeddings[[0, 2]].T).max())


def test_weights_of_the_mean():
    images, eye = pictures(2, seed=5), Scripted([[LEFT]])
    identity = encode_identity(eye, images, weights=[3, 1])
    mean = 3 * identity.embeddings[0] + identity.embeddings[1]
    torch.testing.assert_close(identity.embedding, mean / mean.norm())
    single = encode_identity(eye, images, weights=[0, 1])
    torch.testing.assert_close(single.embedding, single.embeddings[1])
    for bad, message in ([[1], "2 reference.*1 weights"], [[0, 0], "not all"], [[1, -1], "0 or more"]):
        with pytest.raises(ValueError, match=message):
            encode_identity(eye, images, weights=bad)


def test_the_pixel_term():
    guidance = replace_script(reference(), [[LEFT], [LEFT]])
    identity, eye = guidance.identity, guidance.discriminator
    image = pictures(2)
    plain, pixels = (replace(guidance, pixels=share).energy(views=0)(image, 0) for share in (0.0, 0.25))
    difference = (eye.crop(image, [LEFT, LEFT]) - identity.crops).abs().flatten(1).mean(dim=1)
    torch.testing.assert_close(pixels.energy - plain.energy, 0.25 * PIXEL_FACTOR * difference)
    torch.testing.assert_close(pixels.similarity, plain.similarity)


def test_doubtful_regions_are_nobodys_reference():
    with pytest.raises(ValueError, match="reference image.*no face"):
        encode_identity(Scripted([[FAINT]]), pictures())
    identity = encode_identity(Scripted([[RIGHT, FAINT]]), pictures())
    assert identity.references[0].chosen is RIGHT and identity.references[0].regions == [RIGHT]


def test_the_error_names_the_reference_that_is_wrong():
    with pytest.raises(ValueError, match="reference image 2 of 2.*2 faces"):
        encode_identity(Scripted([[LEFT]], [[LEFT, RIGHT]]), pictures(2))


def test_a_text_for_a_discriminator_that_cannot_read_is_refused():
    with pytest.raises(ValueError, match="a dog"):
        encode_identity(Scripted([[LEFT]]), pictures(), text="a dog")


def test_a_mask_is_the_region_where_nothing_is_detected():
    plain = EmbeddingDiscriminator(Scripted([]).network, name="plain", digest="", input_size=8)
    mask = torch.zeros(24, 24)
    mask[4:10, 6:20] = 1
    identity = encode_identity(plain, pictures(), masks=[mask])
    assert identity.references[0].chosen.box == (6, 4, 20, 10)
    for masks, message in ([[mask[:9]], "24 x 9"], [[mask] * 2, "1 reference.*2 masks"]):
        with pytest.raises(ValueError, match=message):
            encode_identity(plain, pictures(), masks=masks)


def test_a_discriminator_on_another_device_than_the_picture_is_refused():
    with pytest.raises(ValueError, match="scripted.*cpu.*meta"):
        Scripted([[LEFT]]).embed(torch.rand(1, 3, 8, 8, device="meta"))
