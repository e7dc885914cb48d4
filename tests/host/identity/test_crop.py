"""Cut out, drawn anew, put back: by the pack's node and the host's."""

import pytest
import torch
from comfy_extras.nodes_images import ImageCrop
from comfy_extras.nodes_mask import ImageCompositeMasked

import nodes as host_nodes
from tests.helpers.host_nodes import outputs_of


@pytest.fixture
def people(run):
    """Three portraits side by side, 192 x 64 pixels, and the recogniser that finds each of them."""
    portraits = [run("DrawDemoPortrait", identity=number).result[0] for number in (3, 5, 8)]
    wide = torch.cat(portraits, dim=2).movedim(-1, 1)
    image = torch.nn.functional.interpolate(wide, (64, 192), mode="bilinear", antialias=True).movedim(1, -1)
    return image, run("LoadDemoDiscriminator").result[0]


@pytest.fixture
def crop(run, people):
    image, discriminator = people

    def cropped(**inputs):
        return run(
            "CropAroundSubject",
            **{"discriminator": discriminator, "image": image, "width": 128, "height": 128, "margin": 0.0, **inputs},
        )

    return cropped


def test_its_numbers_are_those_that_the_hosts_nodes_take(people, crop, shown):
    image, _ = people
    part, mask, *box = crop(which="index", index=1).result
    assert box == [64, 0, 64, 64]
    assert part.shape == (1, 128, 128, 3) and mask.shape == (1, 128, 128)
    x, y, width, height = box
    (there,) = outputs_of(ImageCrop, image=image, width=width, height=height, x=x, y=y)
    torch.testing.assert_close(
        torch.nn.functional.interpolate(part.movedim(-1, 1), (64, 64), mode="area").movedim(1, -1),
        there,
        atol=0.1,
        rtol=0,
    )
    assert shown[-1][0] == "portrait number 1 of 3: 64 x 64 at (64, 0), drawn 2 times as large"


def test_what_is_put_back_changes_its_place_and_fades_at_the_sides(people, crop):
    image, _ = people
    part, mask, x, y, width, height = crop(which="index", index=1).result
    (painted,) = host_nodes.ImageScale().upscale(torch.ones_like(part), "bilinear", width, height, "disabled")
    put = {"destination": image, "source": painted, "x": x, "y": y, "resize_source": False, "mask": mask}
    (after,) = outputs_of(ImageCompositeMasked, **put)
    assert torch.equal(after[:, :, :64], image[:, :, :64]) and torch.equal(after[:, :, 128:], image[:, :, 128:])
    assert (after[:, :, 76:116] == 1).all(), "to the upper and lower border of the picture"
    sides = (after - image)[:, :, 64:72].abs().mean(dim=(0, 1, 3))
    assert sides[0] < 0.15 and sides[-1] > 3 * sides[0]


def test_the_margin_and_the_border(crop):
    """One to the left of the middle one, where there is a border on three sides."""
    *_, x, y, width, height = crop(which="leftmost", margin=0.5).result
    assert (x, y, width, height) == (0, 0, 64, 64), "no higher than the picture"
    *_, x, y, width, height = crop(which="index", index=1, width=256, margin=0.5).result
    assert (x, y, width, height) == (32, 0, 128, 64)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"which": "only"}, "Crop Around Subject, of the portrait in the image: 3 portraits found, and none chosen"),
        ({"which": "index", "index": 3}, "no portrait number 3; found were number 0"),
        ({"width": 136}, "136 and 128.*multiples of 16"),
        ({"width": 64, "height": 128}, "64 : 128.*room for 32 x 64.*proportions"),
        ({"image": torch.zeros(2, 64, 64, 3)}, "2 images.*Image From Batch"),
        ({"image": torch.zeros(1, 4, 64, 3)}, "64 x 4 pixels"),
        ({"text": "a dog"}, "cannot read 'a dog'"),
    ],
)
def test_what_cannot_be_cut_out_is_refused_in_words(crop, inputs, message):
    with pytest.raises(ValueError, match=message):
        crop(**inputs)


def test_a_recogniser_that_searches_nothing_is_refused(crop, job):
    with pytest.raises(ValueError, match="recogniser does not search a picture by itself.*Load Face Discriminator"):
        crop(discriminator=job.discriminator)


def test_it_says_where_nothing_is_gained(crop, shown, caplog):
    crop(which="index", index=1, width=64, height=64)
    assert "Warning" not in shown[-1][0]
    large = torch.rand(1, 256, 256, 3, generator=torch.Generator().manual_seed(0))
    crop(image=large)
    assert shown[-1][0].endswith(
        "Warning: the portrait loses detail, since it is drawn smaller than it is: make width and height larger"
    )
    assert "loses detail" in caplog.text
