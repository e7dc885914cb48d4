"""Who is who: several identities, the regions of a scripted detector, and a recogniser that tells colors."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.discriminators.faces.discriminator import load_face_discriminator
from rectifid_core.guidance.assignment import MARGIN, GroupTracker, assign
from rectifid_core.guidance.identity import IdentityGuidance
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.images.regions import Region
from rectifid_core.networks.onnx import input_size, load_onnx
from tests.helpers.demo_people import new_people
from tests.helpers.people import BLUE, GREEN, RED, SWAPPED, TWO, ByColor, half, painted, people
from tests.helpers.photos import group_photo
from tests.helpers.places import WEIGHTS, needs_weights
from tests.helpers.portraits import real_pack
from tests.helpers.scripted import FAINT, LEFT, NEAR_RIGHT, RIGHT
from tests.helpers.worlds import normal

BELOW = Region((0, 14, 10, 24), 0.7)


def tracker(people, *settings, **options):
    return GroupTracker([each.identity for each in people], people[0].discriminator, *settings, **options)


def follow(track, *images):
    """The regions of each identity in the one sample of each picture."""
    return [[regions[0] for regions, _ in track(image[None], i)] for i, image in enumerate(images)]


def best_by_trying(worth):
    """The most pairs, and of these the greatest sum, over all ways there are."""
    identities, regions = worth.shape
    places = [*range(regions), *[None] * identities]
    ways = (
        [worth[i, j].item() for i, j in enumerate(way) if j is not None]
        for way in set(itertools.permutations(places, identities))
    )
    return max((len(values), sum(values)) for values in ways if -math.inf not in values)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (2, 3), (3, 2), (3, 3), (3, 1), (2, 0)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_greatest_sum_of_all_ways(shape, seed):
    worth = normal(*shape, seed=seed)
    worth[normal(*shape, seed=seed + 9) > 1] = -torch.inf
    assigned = assign(worth)
    values = [worth[i, j].item() for i, j in enumerate(assigned) if j is not None]
    taken = [j for j in assigned if j is not None]
    assert len(assigned) == len(worth) and len(set(taken)) == len(taken)
    assert (len(values), sum(values)) == pytest.approx(best_by_trying(worth))


def test_each_gets_the_region_that_looks_like_it_whatever_the_order():
    for regions in ([LEFT, RIGHT], [RIGHT, LEFT]):
        for picture, expected in ((TWO, [LEFT, RIGHT]), (SWAPPED, [RIGHT, LEFT])):
            assert follow(tracker(people(ByColor([regions]), RED, GREEN)), picture) == [expected]
            assert follow(tracker(people(ByColor([regions]), GREEN, RED)), picture) == [expected[::-1]]


def test_the_sum_counts_and_not_who_comes_first():
    """Both look like the left one, the second more so: the first gets the other."""
    eye = ByColor([[LEFT, RIGHT]])
    picture = painted((LEFT, (0.9, 0.5, 0.1)), (RIGHT, (0.9, 0.2, 0.1)))
    first, second = people(eye, (0.9, 0.3, 0.1), (0.6, 0.9, 0.1))
    assert follow(tracker([first, second]), picture) == [[RIGHT, LEFT]]


def test_when_the_likeness_changes_clearly_they_change_places():
    track = tracker(people(ByColor([[LEFT, RIGHT]]), RED, GREEN))
    assert follow(track, TWO, SWAPPED, SWAPPED, TWO) == [[LEFT, RIGHT], [RIGHT, LEFT], [RIGHT, LEFT], [LEFT, RIGHT]]


def between(share):
    """Left as red as ``share`` says, and right as green."""
    left = (share, 1 - share, 0.0)
    return painted((LEFT, left), (RIGHT, (*left[1::-1], 0.0)))


@pytest.mark.parametrize(("swing", "moves"), [(0.02, False), (0.2, True)])
def test_a_change_needs_a_margin(swing, moves):
    """Two that look nearly alike, now the one and now the other more like red."""
    script = [between(0.5 + (-1) ** i * swing) for i in range(6)]
    red, green = people(ByColor([[LEFT, RIGHT]]), RED, GREEN)
    alone = [follow(tracker([red, green]), picture)[0] for picture in script]
    assert alone == [[LEFT, RIGHT], [RIGHT, LEFT]] * 3, "without memory they flip"
    seen = follow(tracker([red, green]), *script)
    assert seen == (alone if moves else [[LEFT, RIGHT]] * 6)


def test_the_margin_is_for_each_of_two_who_swap():
    """Just below and just above twice the margin, in summed similarity."""
    red, green = people(eye := ByColor([[LEFT, RIGHT]]), RED, GREEN)

    def gain(share):
        crops = eye.crop(between(share).expand(2, -1, -1, -1), [LEFT, RIGHT])
        likeness = torch.stack([each.identity.similarity(eye.embed(crops)) for each in (red, green)])
        return (likeness[0, 1] + likeness[1, 0] - likeness[0, 0] - likeness[1, 1]).item()

    shares = torch.linspace(0.5, 0.2, 61).tolist()
    stays = max(share for share in shares if gain(share) > 2 * MARGIN)
    for share, expected in ((stays, [RIGHT, LEFT]), (stays + 0.006, [LEFT, RIGHT])):
        track = tracker([red, green])
        assert follow(track, TWO, between(share))[1] == expected


def test_one_that_moves_is_followed():
    track = tracker(people(ByColor([[LEFT, RIGHT]], [[NEAR_RIGHT, LEFT]]), RED, GREEN))
    assert follow(track, TWO, TWO)[1] == [LEFT, NEAR_RIGHT]


def test_with_fewer_regions_the_least_alike_is_missing():
    red, green, blue = people(ByColor([[LEFT, RIGHT]]), RED, GREEN, BLUE)
    places = tracker([blue, red, green])(TWO[None], 0)
    assert [regions for regions, _ in places] == [[None], [LEFT], [RIGHT]]
    assert [found for _, found in places] == [[False], [True], [True]]
    places = tracker(people(ByColor([[]]), RED, GREEN))(TWO[None], 0)
    assert places == [([None], [False])] * 2


def test_who_is_lost_stays_until_another_is_found_there():
    track = tracker(people(ByColor([[LEFT, RIGHT]], [[LEFT]], [[RIGHT]]), RED, GREEN))
    assert follow(track, TWO, TWO) == [[LEFT, RIGHT]] * 2
    red_went_right = painted((RIGHT, RED))
    assert [regions[0] for regions, _ in track(red_went_right[None], 2)] == [RIGHT, None]
    assert [found for _, found in track(red_went_right[None], 3)] == [[True], [False]]


def test_a_doubtful_region_is_for_who_has_no_other():
    sure = Region((0, 0, 12, 12), 0.9)
    surest = Region(BELOW.box, 0.45)
    track = tracker(people(ByColor([[sure, FAINT, surest]]), RED, GREEN))
    picture = painted((LEFT, RED), (BELOW, BLUE))
    assert follow(track, picture) == [[sure, surest]]
    track = tracker(people(ByColor([[LEFT, RIGHT, surest]]), RED, BLUE))
    assert follow(track, painted((LEFT, RED), (RIGHT, GREEN), (BELOW, BLUE))) == [[LEFT, RIGHT]]


def test_masks_say_who_stands_where():
    for size in ((24, 24), (12, 12), (100, 100)):
        masks = [half("right", size), half("left", size)]
        track = tracker(people(ByColor([[LEFT, RIGHT]]), RED, GREEN), masks)
        assert follow(track, TWO) == [[RIGHT, LEFT]], "although they look like the others"


def test_a_mask_for_one_leaves_the_rest_to_the_others():
    track = tracker(people(ByColor([[LEFT, RIGHT, BELOW]]), RED, GREEN), [half("right"), None])
    assert follow(track, painted((LEFT, RED), (RIGHT, BLUE), (BELOW, GREEN))) == [[RIGHT, BELOW]]
    track = tracker(people(ByColor([[LEFT]]), RED, GREEN), [half("right"), None])
    assert follow(track, TWO) == [[None, LEFT]], "nobody in the mask, although the left one looks like it"


def test_a_region_counts_by_its_centre():
    for mask_left, expected in ((17, RIGHT), (19, None)):
        mask = torch.zeros(24, 24)
        mask[:, mask_left:] = 1
        track = tracker(people(ByColor([[LEFT, RIGHT]]), RED, GREEN), [None, mask])
        assert follow(track, TWO)[0][1] == expected
    outside = Region((-30, 0, 10, 12), 0.9)
    track = tracker(people(ByColor([[outside]]), RED, GREEN), [torch.ones(24, 24)] * 2)
    assert follow(track, TWO) == [[None, None]]


def test_the_detector_and_the_recogniser_run_once_for_all():
    track = tracker(people(eye := ByColor([[LEFT, RIGHT], [RIGHT]]), RED, GREEN, BLUE), detect_every=2)
    images = torch.stack([TWO, SWAPPED]).requires_grad_()
    for i in range(3):
        places = track(images, i)
        assert (eye.calls, eye.embedded) == (i // 2 + 1, i // 2 + 1)
    assert [regions[1] for regions, _ in places].count(RIGHT) == 1


def test_samples_do_not_mix():
    red, green = people(ByColor([[LEFT, RIGHT], [RIGHT, LEFT]]), RED, GREEN)
    places = tracker([red, green])(torch.stack([TWO, SWAPPED]), 0)
    assert [regions for regions, _ in places] == [[LEFT, RIGHT], [RIGHT, LEFT]]


def test_what_cannot_be_compared_is_left_to_the_solver_to_refuse():
    """nan in the picture is the gradient's message, not the assignment's."""
    places = tracker(people(ByColor([[LEFT, RIGHT]]), RED, GREEN))(torch.full_like(TWO, torch.nan)[None], 0)
    assert [found for _, found in places] == [[True], [True]]


# Real recognisers


class SideBySide(EmbeddingDiscriminator):
    """Sees one portrait in each square of a picture, from left to right."""

    detects = True

    def locate(self, image, query=None, thorough=False):
        height, width = image.shape[-2:]
        squares = [Region((left, 0.0, left + height, height)) for left in range(0, width, height)]
        return [squares] * len(image)


@needs_weights
@pytest.mark.parametrize("name", ["guide", "judge"])
def test_two_of_the_demos_people_in_new_scenes(name):
    """64 pictures of two people each; measured: all of them right."""
    file = WEIGHTS / f"recogniser_{name}.onnx"
    eye = SideBySide(load_onnx(file), name=name, digest=name, input_size=input_size(file))
    drawn = new_people(128)
    identities = [IdentityGuidance(encode_identity(eye, [portrait]), eye) for portrait in drawn[:, 0]]
    right = 0
    for number, (first, second) in enumerate(zip(drawn[::2, 1], drawn[1::2, 1], strict=True)):
        order = (first, second) if number % 2 else (second, first)
        track = tracker(identities[2 * number : 2 * number + 2])
        (place, _), _ = track(torch.cat(order, dim=-1)[None], 0)
        right += (place[0].box[0] == 0) == bool(number % 2)
    assert right >= 61, "95 %"


def test_six_people_on_a_photograph(tmp_path):
    """Each is known by the own face in the mirror, whatever the order; measured similarities: 0.865 and more."""
    eye = load_face_discriminator(real_pack(tmp_path / "real"))
    photo = group_photo()
    faces = [face for face in eye.locate(photo[None])[0] if face.score >= eye.threshold]
    identities = [
        IdentityGuidance(encode_identity(eye, [photo], strategy="index", index=number), eye)
        for number in (3, 0, 5, 1, 4, 2)
    ]
    places = tracker(identities)(photo.flip(-1)[None], 0)
    for number, (regions, found) in zip((3, 0, 5, 1, 4, 2), places, strict=True):
        mirrored = photo.shape[-1] - faces[number].centre[0]
        assert found == [True] and abs(regions[0].centre[0] - mirrored) < 5
    two = tracker(identities[:2])(photo[None], 0)
    assert [regions[0].box for regions, _ in two] == [faces[3].box, faces[0].box]
