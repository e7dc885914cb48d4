"""Trains what recognises things and pets: the guide, a small DINOv2 in a folder as users have it; and the judge, a
stack of convolutions that looks at whole pictures, and reads traits and what a prompt names beside its embedding.

Guide and judge differ in subjects (disjoint), seed and architecture, and in what they look at: the guide at the box
around a subject, the judge at all of the picture.  Both learn as the recognisers of `demo/` do: families with twins, an
auxiliary loss for each trait, and in every other step an adversary.  Each resumes from the cache.  Minutes are those of
one processor.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from data import CACHE, TRAINED
from resumed import Resumed
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align
from train_recognisers import ADVERSARY, PlainRecogniser, adversary, augment, contrast
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

from .pictures import MEMBERS, MOMENTS, families, family
from .traits import OUTPUTS, PLACE_OUTPUTS, encode_places, encode_traits, place_loss, trait_loss

SIDE = 64  # of what guide and judge see
TRAIT_WEIGHT = 2.0
JITTER = 0.05  # of a box's sides: a detector is not exact
SEEDS = {"guide": 81, "judge": 82}
FEATURES = 128


class Dino(nn.Module):
    """The class token of a small DINOv2, (B, 3, 64, 64) in [-1, 1] -> (B, 128)."""

    def __init__(self):
        super().__init__()
        shape = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "mlp_ratio": 2}
        self.model = Dinov2Model(Dinov2Config(**shape, image_size=SIDE, patch_size=8))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).last_hidden_state[:, 0]


class Judge(nn.Module):
    """What (B, 3, 64, 64) in [-1, 1] shows: an embedding (B, 128), and readings of traits and place as `traits` takes
    them."""

    def __init__(self):
        super().__init__()
        self.net = PlainRecogniser(FEATURES + OUTPUTS + PLACE_OUTPUTS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.net(x).split([FEATURES, OUTPUTS, PLACE_OUTPUTS], 1)


class Recognition(nn.Module):
    """A recogniser and linear readings of the traits from its embedding: the loss of both."""

    def __init__(self, recogniser: nn.Module):
        super().__init__()
        self.recogniser, self.traits = recogniser, nn.Linear(FEATURES, OUTPUTS)

    def forward(self, x: Tensor, target: tuple[Tensor, ...]) -> Tensor:
        return self.of(self.recogniser(x), target)

    def of(self, embedding: Tensor, target: tuple[Tensor, ...]) -> Tensor:
        features = F.normalize(embedding.float(), dim=1)
        return contrast(features, target[0]) + TRAIT_WEIGHT * trait_loss(self.traits(10 * features), *target[1:3])


class Judgement(Recognition):
    """The judge's, with that of what it reads beside its embedding."""

    def forward(self, x: Tensor, target: tuple[Tensor, ...]) -> Tensor:
        embedding, traits, places = self.recogniser(x)
        return self.of(embedding, target) + trait_loss(traits, *target[1:3]) + place_loss(places, target[3])


def untrained(name: str) -> nn.Module:
    torch.manual_seed(SEEDS[name])
    return Recognition(Dino()) if name == "guide" else Judgement(Judge())


def family_batches(
    folder: Path, name: str, rng: np.random.Generator, size: int = 16, moments: int = 2
) -> Iterator[tuple]:
    """Pictures of families, all of a family in the same places, and for each picture what it is and its traits."""
    source, boxes = np.load(folder / "scenes.npy", mmap_mode="r"), np.load(folder / "scenes_boxes.npy")[:, 0]
    count = len(source) // (2 * MEMBERS * MOMENTS)
    start = count if name == "judge" else 0  # of the families
    traits = [each.unflatten(0, (count, MEMBERS)) for each in encode_traits(families(name, count))]
    places = torch.stack([encode_places(family(name, number)[1]) for number in range(count)])
    size = min(size, count)
    target = torch.arange(size * MEMBERS).repeat_interleave(moments)
    while True:
        which = np.sort(rng.choice(count, size, replace=False))
        when = np.stack([rng.choice(MOMENTS, moments, replace=False) for _ in which])
        at = ((start + which)[:, None, None] * MEMBERS + np.arange(MEMBERS)[None, :, None]) * MOMENTS + when[:, None]
        x = torch.from_numpy(source[at.ravel()]).permute(0, 3, 1, 2).float() / 127.5 - 1
        x = cut(x, boxes[at.ravel()], rng) if name == "guide" else F.avg_pool2d(x, x.shape[-1] // SIDE)
        seen = [each[which].flatten(0, 1).repeat_interleave(moments, 0) for each in traits]
        where = places[which[:, None], when][:, None].expand(-1, MEMBERS, -1, -1).flatten(0, 2)
        yield augment(x), (target, *seen, where)


def cut(x: Tensor, boxes: np.ndarray, rng: np.random.Generator) -> Tensor:
    """What lies in boxes, (B, 4) in pixels, made a little wrong: squares of SIDE."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + JITTER * sides * rng.standard_normal(boxes.shape)
    whole = torch.from_numpy(moved.clip(0, x.shape[-1])).float()
    rows = torch.cat([torch.arange(len(x))[:, None].float(), whole], 1)
    return roi_align(x, rows, SIDE, sampling_ratio=2, aligned=True)


def train(name: str, minutes: float) -> nn.Module:
    model = untrained(name).to(memory_format=torch.channels_last)
    rate = 1e-3 if name == "guide" else 2e-3
    training = Resumed(model, CACHE / f"{name}.pt", rate, minutes, warm_up=50, clip=5.0, every=50)
    batches = family_batches(CACHE, name, np.random.default_rng(training.step))
    for share in training.shares():
        x, target = next(batches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if share > 0.25 and training.step % 2:
                x = adversary(lambda start, target=target: model(start, target), x, ADVERSARY)
            loss = model(x, target)
        training.update(loss, share)
    trained = model.recogniser.eval()
    export(TRAINED, name, trained)
    return trained


def export(folder: Path, name: str, trained: nn.Module) -> None:
    """The guide as a folder in the Hugging Face layout, the judge as its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "guide":
        trained.model.save_pretrained(folder / "dino")
        BitImageProcessor(
            size={"shortest_edge": SIDE},
            crop_size={"height": SIDE, "width": SIDE},
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        ).save_pretrained(folder / "dino")
    else:
        state = {key: value.contiguous() for key, value in trained.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
