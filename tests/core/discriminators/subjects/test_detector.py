"""OWL's boxes are those of transformers."""

from __future__ import annotations

import pytest
import torch
import transformers

from rectifid_core.discriminators.subjects import detector as subject_detector
from rectifid_core.discriminators.subjects.detector import load_subject_detector
from tests.helpers import subject_folders
from tests.helpers.subject_folders import bytes_of, picture


def box_of(region):
    return torch.tensor(region.box)


class TestDetector:
    @pytest.fixture(params=subject_folders.DETECTORS)
    def kind(self, request):
        return request.param

    @pytest.fixture
    def detector(self, folders, kind):
        return load_subject_detector(folders[0] / kind)

    @pytest.fixture
    def processor(self, folders, kind):
        tokenizer = transformers.CLIPTokenizerFast.from_pretrained(folders[0] / kind)
        processor = transformers.Owlv2Processor if kind == "owlv2" else transformers.OwlViTProcessor
        return processor(image_processor=subject_folders.image_processor(kind), tokenizer=tokenizer)

    @torch.no_grad()
    def test_words_find_what_transformers_finds(self, folders, kind, detector, processor):
        image = picture(64, 64)
        inputs = processor(text=[["a dog", "red"]], images=bytes_of(image), return_tensors="pt")
        outputs = folders[1][kind](**inputs)
        target = torch.tensor([[64, 64]])
        (theirs,) = processor.image_processor.post_process_object_detection(outputs, 0.0, target)
        boxes, scores = detector(image[None], torch.cat([detector.text_query(t) for t in ("a dog", "red")]))
        torch.testing.assert_close(boxes[0], theirs["boxes"], atol=1e-3, rtol=0)
        torch.testing.assert_close(scores[0], theirs["scores"], atol=1e-5, rtol=0)
        assert scores.max() - scores.min() > 0.1, "all the same would agree with anything"

    @torch.no_grad()
    def test_a_picture_finds_what_transformers_finds(self, folders, kind, detector, processor):
        image, wanted = picture(64, 64), picture(64, 64, seed=3)
        inputs = processor(images=bytes_of(image), query_images=bytes_of(wanted), return_tensors="pt")
        outputs = folders[1][kind].image_guided_detection(**inputs)
        _, scores = detector(image[None], detector.image_query(wanted)[None])
        torch.testing.assert_close(scores, outputs.logits[..., 0].sigmoid(), atol=1e-5, rtol=0)

        (theirs,) = processor.image_processor.post_process_image_guided_detection(
            outputs, threshold=0.0, nms_threshold=0.3, target_sizes=torch.tensor([[64, 64]])
        )
        boxes = theirs["boxes"][theirs["scores"].argsort(descending=True)].clamp(0, 64)
        boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).amin(dim=1) >= 1]
        regions = detector.detect(image[None], detector.image_query(wanted)[None], floor=0.0)[0]
        ours = torch.stack([box_of(region) for region in regions])
        shared = min(len(ours), len(boxes))
        assert shared >= 5
        torch.testing.assert_close(ours[:shared], boxes[:shared], atol=1e-3, rtol=0)

    @pytest.mark.parametrize("size", [(48, 80), (200, 120), (31, 31)])
    def test_pictures_are_prepared_as_by_transformers(self, kind, detector, processor, size):
        """To a level of 255, which theirs are rounded to.  OWLv2 on squares: transformers 5 pads in black, older ones
        and the authors in grey."""
        image = picture(*size) if kind == "owlvit" else picture(size[0], size[0])
        theirs = processor(images=bytes_of(image), return_tensors="pt")["pixel_values"]
        difference = (detector.prepare(image[None]) - theirs) * detector.std
        assert difference.abs().max() < 1.5 / 255

    @torch.no_grad()
    def test_owlv2_pads_and_owlvit_squashes(self, kind, detector):
        """A wide picture has the boxes of the same picture made square by hand."""
        image = picture(32, 64)
        query = detector.text_query("a ball")
        boxes, scores = detector(image[None], query)
        if kind == "owlv2":
            square = torch.full((3, 64, 64), 0.5)
            square[:, :32] = image
            expected = detector(square[None], query)
        else:
            squashed = torch.nn.functional.interpolate(image[None], (64, 64), mode="bicubic", antialias=True)
            expected = detector(squashed.clamp(0, 1), query)
            expected[0][..., 1::2] /= 2
        torch.testing.assert_close((boxes, scores), tuple(expected), atol=1e-3, rtol=0)

    def test_regions_are_sorted_distinct_and_in_the_image(self, detector):
        images = torch.stack([picture(40, 64, seed) for seed in range(3)])
        query = detector.text_query("dog")
        found = detector.detect(images, query, floor=0.0)
        for image, regions in zip(images, found, strict=True):
            assert 2 < len(regions) <= subject_detector.MOST
            scores = [region.score for region in regions]
            assert scores == sorted(scores, reverse=True)
            assert all(0 <= r.box[0] < r.box[2] <= 64 and 0 <= r.box[1] < r.box[3] <= 40 for r in regions)
            single = detector.detect(image[None], query, floor=0.0)[0]
            torch.testing.assert_close(
                torch.stack([box_of(r) for r in single]), torch.stack([box_of(r) for r in regions]), atol=1e-3, rtol=0
            )
            floor = scores[2]
            above = detector.detect(image[None], query, floor=floor - 1e-5)[0]
            assert [r.score for r in above] == pytest.approx(scores[:3], abs=1e-5)

    def test_nothing_there(self, detector):
        assert detector.detect(picture(40, 40)[None], detector.text_query("dog"), floor=1.0) == [[]]

    def test_too_many_words(self, detector):
        with pytest.raises(ValueError, match="too long.*14 tokens"):
            detector.text_query("a dog a cat a ball a dog a cat a ball a dog a cat")

    @torch.no_grad()
    def test_numbers_beyond_its_precision(self, detector):
        detector.network.layer_norm.weight.fill_(torch.inf)
        with pytest.raises(ValueError, match="nan.*fp32"):
            detector.image_query(picture(64, 64))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_less_precision(self, folders, kind, detector, dtype):
        half = load_subject_detector(folders[0] / kind, dtype)
        image = picture(64, 64)[None]
        boxes, scores = half(image, half.text_query("a dog"))
        assert boxes.dtype == scores.dtype == torch.float32
        expected_boxes, expected_scores = detector(image, detector.text_query("a dog"))
        assert (boxes - expected_boxes).abs().mean() < 0.5  # pixels of 64; these weights are rough
        assert (scores - expected_scores).abs().mean() < 0.02
