"""Trains what finds things and pets: a small OWLv2 in a folder as users have it.

A patch inside of a box learns that box and, among the kinds in words ("a mug"), the right one; every other patch learns
a box of no size and none of the kinds.  One batch in three is of two subjects side by side; the others are of one, half
of them cut to its box or near it, since a detector's queries are pictures that show nothing else.  Minutes are those of
one processor.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from data import CACHE, TRAINED
from resumed import Resumed
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_convert, generalized_box_iou_loss
from train_segmenter import soften
from transformers import (
    CLIPTokenizerFast,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
)

from .pictures import MEMBERS, MOMENTS, SLOTS
from .render import NAMED

SIDE, PATCH, BATCH, RATE = 128, 16, 32, 1e-3
NOTHING = 0.02  # the side of the box of a patch that shows nothing, in parts of the picture
KINDS = NAMED["kind"]  # and people, who stand beside
KIND_SLOTS = [i for i, (_, name) in enumerate(SLOTS) if name == "kind"]


def untrained(tokenizer: CLIPTokenizerFast) -> Owlv2ForObjectDetection:
    torch.manual_seed(84)
    shape = {"num_hidden_layers": 3, "num_attention_heads": 4}
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": len(tokenizer), "max_position_embeddings": 16, "pad_token_id": 0}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vision = {"hidden_size": 128, "intermediate_size": 256, **shape, "image_size": SIDE, "patch_size": PATCH}
    config = Owlv2Config(text_config=text, vision_config=vision, projection_dim=text["hidden_size"])
    model = Owlv2ForObjectDetection(config)
    # the class's own start has weights of deviation 1, with which every box is saturated
    for head in (model.class_head, model.box_head, model.owlv2.text_projection):
        for layer in (layer for layer in head.modules() if isinstance(layer, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight, 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    nn.init.constant_(model.class_head.logit_scale.bias, 9.0)  # a cosine of 0 is a "no", one of 1 a "yes"
    nn.init.constant_(model.class_head.logit_shift.bias, -0.5)
    return model


def host_tokenizer() -> CLIPTokenizerFast:
    """The host's own CLIP tokenizer."""
    folder = Path(os.environ["COMFYUI_PATH"]) / "comfy" / "sd1_tokenizer"
    return CLIPTokenizerFast.from_pretrained(folder, model_max_length=16)


def windows(x: Tensor, window: Tensor) -> Tensor:
    """Windows (B, 4), (left, top, right, bottom) in pixels, of pictures in [-1, 1]: squares of SIDE in whose upper left
    corner they are, and gray around, as OWLv2 sees what is not square."""
    size = window[:, 2:] - window[:, :2]
    side = size.amax(1)
    place = (torch.arange(SIDE) + 0.5) / SIDE * side[:, None]  # from the window's corner, in pixels
    at = [2 * (window[:, i, None] + place) / x.shape[-1] - 1 for i in (0, 1)]
    grid = torch.stack([at[0][:, None].expand(-1, SIDE, -1), at[1][:, :, None].expand(-1, -1, SIDE)], -1)
    seen = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    inside = (place[:, None] < size[:, 0, None, None]) & (place[:, :, None] < size[:, 1, None, None])
    return seen * inside[:, None]


class Pictures:
    """Batches of pictures (B, 3, SIDE, SIDE) in [-1, 1], of what is in them (B, N) and where, (B, N, 4) in parts of the
    side."""

    def __init__(self, folder: Path):
        self.rng = np.random.default_rng(85)
        self.data = {
            kind: (
                np.load(folder / f"{kind}.npy", mmap_mode="r"),
                np.load(folder / f"{kind}_boxes.npy"),
                np.load(folder / f"{kind}_named.npy")[:, 0][:, KIND_SLOTS[:number]].astype(int) - 1,
            )
            for number, kind in enumerate(("scenes", "couples"), start=1)
        }
        self.guided = len(self.data["scenes"][0]) // 2  # the guide's own subjects
        assert self.guided % (MEMBERS * MOMENTS) == 0

    def single(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        source, boxes, kinds = self.data["scenes"]
        at = np.sort(self.rng.integers(0, self.guided, size))
        x = soften(torch.from_numpy(source[at]).permute(0, 3, 1, 2).float() / 127.5 - 1)
        box = torch.from_numpy(boxes[at, 0])
        whole = torch.tensor([0.0, 0.0, x.shape[-1], x.shape[-1]])
        out = torch.from_numpy(np.where(self.rng.random(size) < 0.5, 1, 0.5 * self.rng.random(size) ** 2)).float()
        window = (box + out[:, None] * (whole - box)).round()
        scale = (window[:, 2:] - window[:, :2]).amax(1)[:, None]
        return windows(x, window), torch.from_numpy(kinds[at]), ((box - window[:, [0, 1, 0, 1]]) / scale)[:, None]

    def double(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        source, boxes, kinds = self.data["couples"]
        at = np.sort(self.rng.integers(0, len(source), size))
        x = F.avg_pool2d(torch.from_numpy(source[at]).permute(0, 3, 1, 2).float() / 127.5 - 1, 2)
        x = F.pad(x, (0, 0, 0, SIDE - x.shape[-2]))
        return x, torch.from_numpy(kinds[at]), torch.from_numpy(boxes[at]) / (2 * SIDE)


def texts(model: Owlv2ForObjectDetection, tokens: Tensor) -> Tensor:
    """A unit vector for each kind."""
    return F.normalize(model.owlv2.text_projection(model.owlv2.text_model(input_ids=tokens)[1]), dim=1)


def loss_of(model: Owlv2ForObjectDetection, x: Tensor, kinds: Tensor, boxes: Tensor, queries: Tensor) -> Tensor:
    grid = model.image_embedder(x)[0]
    features = grid.flatten(1, 2)
    logits, _ = model.class_predictor(features, queries.expand(len(x), -1, -1))
    found = model.box_predictor(features, grid)
    across = SIDE // PATCH
    middle = (torch.arange(across) + 0.5) / across
    y, x_ = (each.flatten() for each in torch.meshgrid(middle, middle, indexing="ij"))
    inside = (  # (B, P, N)
        (x_[:, None] > boxes[:, None, :, 0])
        & (x_[:, None] < boxes[:, None, :, 2])
        & (y[:, None] > boxes[:, None, :, 1])
        & (y[:, None] < boxes[:, None, :, 3])
    )
    there, which = inside.any(2), inside.float().argmax(2)
    truth = F.one_hot(kinds.gather(1, which), len(KINDS)).float() * there[..., None]
    named = F.binary_cross_entropy_with_logits(logits.float(), truth, pos_weight=torch.tensor(3.0))
    wanted = boxes.gather(1, which[..., None].expand(-1, -1, 4))
    own = torch.stack([x_, y, torch.full_like(y, NOTHING), torch.full_like(y, NOTHING)], 1).expand_as(found)
    nothing = F.l1_loss(found[~there], own[~there])
    corners = box_convert(found[there], "cxcywh", "xyxy")
    placed = F.l1_loss(corners, wanted[there]) * 4 + generalized_box_iou_loss(corners, wanted[there], reduction="mean")
    return 8 * named + placed + nothing


def train(minutes: float) -> None:
    tokenizer = host_tokenizer()
    model, pictures = untrained(tokenizer), Pictures(CACHE)
    tokens = torch.tensor([tokenizer(f"a {kind}")["input_ids"] for kind in KINDS])
    training = Resumed(model, CACHE / "owl.pt", RATE, minutes, warm_up=100, clip=1.0, every=50)
    for share in training.shares():
        x, kinds, boxes = pictures.double(BATCH) if training.step % 3 == 2 else pictures.single(BATCH)
        x = x + 0.05 * torch.rand(len(x), 1, 1, 1) * torch.randn_like(x)
        training.update(loss_of(model, x, kinds, boxes, texts(model, tokens)), share)
    export(TRAINED / "owl", model, tokenizer)


def export(folder: Path, model: Owlv2ForObjectDetection, tokenizer: CLIPTokenizerFast) -> None:
    """In the Hugging Face layout."""
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = Owlv2ImageProcessor(size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    processor.save_pretrained(folder)
