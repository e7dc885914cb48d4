"""OWL-ViT and OWLv2: find things by words, or by a picture of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert, clip_boxes_to_image, nms

from ...images.regions import Region, size_of
from ...networks.pretrained import Preprocessing, PretrainedError, open_network, read_preprocessing
from ...packages import importing

CLASSES = {"owlvit": "OwlViTForObjectDetection", "owlv2": "Owlv2ForObjectDetection"}
EXAMPLE = "for example google/owlv2-base-patch16-ensemble or google/owlvit-base-patch32 on huggingface.co (Apache-2.0)"
CLIP = Preprocessing(768, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
GREY = 0.5  # around pictures that are not square, as OWLv2 was trained
OVERLAP = 0.3  # of boxes that show the same thing, as published
MOST = 20  # regions of one image; behind them a detector only guesses


class SubjectDetector(nn.Module):
    """An open-vocabulary detector.  It finds what a query stands for: a unit vector ``(Q,)`` of words or of a picture.

    network: `OwlViTForObjectDetection` or `Owlv2ForObjectDetection` of transformers, in float32.
    tokenizer: makes the tokens of words.
    dtype: of the two encoders; the small heads that make boxes of their features stay in float32, since in bfloat16 a
        box of a large picture is off by pixels.
    digest: the SHA-256 of the weights.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Callable[..., Mapping[str, Tensor]],
        preprocessing: Preprocessing,
        dtype: torch.dtype,
        digest: str,
    ) -> None:
        super().__init__()
        self.digest = digest
        self.network = network
        self.network.base_model.to(dtype)
        self.network.layer_norm.to(dtype)
        self.tokenizer = tokenizer
        self.size = network.config.vision_config.image_size
        self.pads = network.config.model_type == "owlv2"
        self.mean = torch.tensor(preprocessing.mean).view(-1, 1, 1)
        self.std = torch.tensor(preprocessing.std).view(-1, 1, 1)
        self.eval()

    def text_query(self, text: str) -> Tensor:
        """``(1, Q)``, what a few words stand for; ValueError for more words than it can read at once."""
        tokens = self.tokenizer(text, return_tensors="pt")["input_ids"]
        longest = self.network.config.text_config.max_position_embeddings
        if tokens.shape[1] > longest:
            raise ValueError(
                f"{text!r} is too long for the detector, which reads {longest - 2} tokens; name the thing in a few "
                "words, such as 'a dog'"
            )
        owl = self.network.base_model
        pooled = owl.text_model(input_ids=tokens.to(self._weight.device))[1]
        return F.normalize(owl.text_projection(pooled).float(), dim=1)

    def image_query(self, picture: Tensor) -> Tensor:
        """``(Q,)``, what a picture ``(3, H, W)`` in [0, 1] shows as a whole."""
        features, grid = self._features(picture[None])
        query = self.network.embed_image_query(features, grid)[0]
        if query is None or not query.isfinite().all():  # None is what nan makes of OWL-ViT's
            raise ValueError(
                "the detector computes nan or infinity, which comes of too little precision or of damaged weights; "
                "load it in fp32, or download it again"
            )
        return F.normalize(query.flatten().float(), dim=0)

    def forward(self, images: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """The boxes in ``(B, 3, H, W)``, ``(B, P, 4)`` in pixels, with their scores, ``(B, P)`` in [0, 1].

        queries: ``(M, Q)``; a box has the score of the query that fits best.
        """
        features, grid = self._features(images)
        queries = queries.to(features).expand(len(images), -1, -1)
        logits, _ = self.network.class_predictor(features, queries)
        height, width = images.shape[-2:]
        sides = (max(height, width),) * 4 if self.pads else (width, height, width, height)
        boxes = box_convert(self.network.box_predictor(features, grid), "cxcywh", "xyxy")
        return boxes * boxes.new_tensor(sides), logits.amax(dim=-1).sigmoid()

    def detect(self, images: Tensor, queries: Tensor, floor: float) -> list[list[Region]]:
        """The regions in each image with a score of at least ``floor``, the best first, one for each thing."""
        return [
            _regions(boxes, scores, floor, size_of(images))
            for boxes, scores in zip(*self(images, queries), strict=True)
        ]

    def prepare(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in [0, 1] as the network wants them: squares, which OWLv2 pads and OWL-ViT squashes to."""
        mode = "bicubic"
        if self.pads:
            mode = "bilinear"
            height, width = images.shape[-2:]
            side = max(height, width)
            images = F.pad(images, (0, side - width, 0, side - height), value=GREY)
        square = F.interpolate(images, (self.size, self.size), mode=mode, antialias=True).clamp(0, 1)
        return (square - self.mean.to(images)) / self.std.to(images)

    @property
    def _weight(self) -> Tensor:
        return self.network.layer_norm.weight

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """float32, of each patch: in a row ``(B, P, C)``, and in place ``(B, h, w, C)``."""
        grid = self.network.image_embedder(self.prepare(images).to(self._weight.dtype))[0].float()
        return grid.flatten(1, 2), grid


def _regions(boxes: Tensor, scores: Tensor, floor: float, size: tuple[int, int]) -> list[Region]:
    likely = scores >= floor
    boxes, scores = boxes[likely], scores[likely]
    kept = nms(boxes, scores, OVERLAP)[:MOST]
    boxes, scores = clip_boxes_to_image(boxes[kept], size), scores[kept]
    visible = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) >= 1  # not in the padding
    pairs = zip(boxes[visible].tolist(), scores[visible].tolist(), strict=True)
    return [Region(tuple(box), score) for box, score in pairs]


def load_subject_detector(folder: Path, dtype: torch.dtype = torch.float32) -> SubjectDetector:
    """The detector of a folder; PretrainedError for one that cannot serve."""
    opened = open_network(folder, CLASSES, EXAMPLE)
    config: Any = opened.network.config
    tokenizer = _read_tokenizer(folder, config.text_config.vocab_size)
    return SubjectDetector(opened.network, tokenizer, read_preprocessing(folder, CLIP), dtype, opened.digest)


def _read_tokenizer(folder: Path, vocabulary: int) -> Callable[..., Mapping[str, Tensor]]:
    """CLIP's, for a network that knows so many tokens."""
    if not ((folder / "tokenizer.json").is_file() or all((folder / n).is_file() for n in ("vocab.json", "merges.txt"))):
        raise PretrainedError(
            f"{folder} has no tokenizer (tokenizer.json, or vocab.json and merges.txt), without which the detector "
            f"cannot read; it needs all files of its repository, {EXAMPLE}"
        )
    with importing("transformers>=4.50", "networks of Hugging Face"):
        transformers = import_module("transformers")  # which exports lazily, so that type checkers see no tokenizer
    try:
        tokenizer = transformers.CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)
        largest = max(tokenizer.get_vocab().values())
    except Exception as error:  # what transformers and tokenizers raise for a wrong file has no class in common
        raise PretrainedError(
            f"the tokenizer in {folder} cannot be read ({type(error).__name__}: {error}); download all files of one "
            f"repository again, {EXAMPLE}"
        ) from error
    if largest >= vocabulary:
        raise PretrainedError(
            f"the tokenizer in {folder} has tokens up to {largest}, and the network knows {vocabulary}; download all "
            "files of one repository again"
        )
    return tokenizer
