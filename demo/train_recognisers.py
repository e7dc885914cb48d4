"""Trains the two recognisers, one that guides and one that only judges, the attribute reader that scores the prompt,
the trait reader that says who is to be seen, and a network for the Frechet distance of pictures.

    python demo/train_recognisers.py guide --minutes 45
    python demo/train_recognisers.py judge --minutes 31
    python demo/train_recognisers.py attributes --minutes 15
    python demo/train_recognisers.py reader --minutes 20
    python demo/train_recognisers.py features --minutes 8

The recognisers differ in people (disjoint), seed and architecture.  Each batch has families: people and their twins,
who differ in one trait, in the same scenes.  Besides telling people apart, the embedding has to give away each trait
(an auxiliary loss), so that none can be left out.  In every other step the pictures are changed by an adversary
(gradient steps within a ball), so that the networks' gradients follow what people see rather than single pixels.  Each
is exported as ONNX, input (B, 3, 64, 64) RGB in [-1, 1], 128 pixels for the trait reader; each stage resumes from the
cache.  Minutes are those of one processor.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
import torch
from data import (
    CACHE,
    EVALUATION,
    FAMILIES,
    FIRST_SEED,
    MOMENTS,
    RECOGNISER_SIZE,
    SIZE,
    TRAINED,
    TWINS,
    family,
    training_scene,
)
from portrait import ATTRIBUTES, Identity, draw
from resumed import Resumed
from torch import Tensor, nn
from torch.nn import functional as F
from traits import OUTPUTS, encode_traits, trait_loss

TEMPERATURE = 0.06
TRAIT_WEIGHT = 2.0
ADVERSARY, ADVERSARY_STEPS = 3.0, 2  # L2 radius of the adversarial change of a 3 x 64 x 64 picture in [-1, 1]


class ResidualRecogniser(nn.Module):
    """The guide: residual blocks and strided convolutions, batch normalisation."""

    def __init__(self, features: int = 128, channels: int = 3, widths: tuple[int, ...] = (32, 48, 80, 112)):
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 4, stride=2, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(width),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for width in widths
        )
        self.head = nn.Sequential(
            nn.BatchNorm2d(widths[-1]), nn.SiLU(), nn.Flatten(), nn.Linear(widths[-1] * 16, features)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.blocks[0](x)
        for down, block in zip(self.down, self.blocks[1:], strict=True):
            x = down(x)
            x = x + block(x)
        return self.head(x)


class PlainRecogniser(nn.Module):
    """The judge: a plain stack of convolutions with another depth, other kernels, widths and activation."""

    def __init__(self, features: int = 128):
        super().__init__()
        layers: list[nn.Module] = []
        widths, kernels = (3, 32, 32, 64, 64, 96, 96, 128), (5, 3, 5, 3, 3, 3, 3)
        for i, kernel in enumerate(kernels):
            stride = 2 if i % 2 == 0 else 1
            convolution = nn.Conv2d(widths[i], widths[i + 1], kernel, stride, kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(widths[i + 1]), nn.ELU()]
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, features))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class AttributeReader(nn.Module):
    """The attributes that a prompt names, one group of logits each, concatenated in the order of
    `portrait.ATTRIBUTES`."""

    def __init__(self):
        super().__init__()
        self.net = ResidualRecogniser(sum(len(choices) for choices in ATTRIBUTES.values()))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TraitReader(nn.Module):
    """The traits of the person on a picture of 128 pixels, as `traits.PERSON.split` takes them."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.PixelUnshuffle(2), ResidualRecogniser(OUTPUTS, 12, (48, 64, 96, 128)))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def augment(x: Tensor) -> Tensor:
    """Shift, rotation and scale, blur, light and noise: what a generated picture may differ by and still show the same
    person.  The light falls on the whole picture, so that skin, hair and background keep their relation."""
    b = x.shape[0]
    angle, scale = 0.06 * torch.randn(b), 1 + 0.05 * torch.randn(b)
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    shift = 0.03 * torch.randn(2, b)
    theta = torch.stack([torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)], 1)
    x = F.grid_sample(x, F.affine_grid(theta, list(x.shape), False), padding_mode="border", align_corners=False)
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = x + torch.rand(b, 1, 1, 1).square() * (blurred - x)
    x = (x + 1) * torch.empty(b, 1, 1, 1).uniform_(0.8, 1.2) - 1 + 0.02 * torch.randn(b, 3, 1, 1)
    return (x + 0.06 * torch.rand(b, 1, 1, 1) * torch.randn_like(x)).clamp(-1, 1)


def contrast(features: Tensor, people: Tensor) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020): the cosine to the same person against that to all others in
    the batch."""
    features = F.normalize(features.float(), dim=1)
    logits = features @ features.T / TEMPERATURE
    itself = torch.eye(len(people), dtype=torch.bool)
    logits = logits.masked_fill(itself, -1e4)
    same = (people[:, None] == people[None]) & ~itself
    return -(F.log_softmax(logits, 1) * same).sum(1).div(same.sum(1)).mean()


def by_attribute(logits: Tensor) -> dict[str, Tensor]:
    """The reader's logits, ``(B, ...)``, as a group for each attribute."""
    groups = logits.float().split([len(choices) for choices in ATTRIBUTES.values()], 1)
    return dict(zip(ATTRIBUTES, groups, strict=True))


def read_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return sum(F.cross_entropy(group, labels[:, i]) for i, group in enumerate(by_attribute(logits).values()))


def adversary(loss, x: Tensor, radius: float) -> Tensor:
    """x moved up the loss by steps from a random start (Madry et al. 2018), within a ball of at most ``radius``."""
    radius = radius * torch.rand(x.shape[0], 1, 1, 1)
    change = 0.5 * radius * _direction(torch.randn_like(x))
    for _ in range(ADVERSARY_STEPS):
        moved = (x + change).requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(moved), moved)
        change = change + 1.5 / ADVERSARY_STEPS * radius * _direction(gradient)
        change = change * (radius / _length(change)).clamp(max=1)
    return (x + change).clamp(-1, 1)


def _length(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1).view(-1, 1, 1, 1).clamp(min=1e-12)


def _direction(x: Tensor) -> Tensor:
    return x / _length(x)


def family_batches(name: str, rng: np.random.Generator, families: int = 24, moments: int = 2):
    """Pictures of families, all of a family in the same scenes, and for each picture who it is and the traits."""
    source = np.load(CACHE / f"{name}.npy", mmap_mode="r")
    members = 1 + TWINS
    people = [person for number in range(FAMILIES) for person in family(name, number)[0]]
    traits = [each.unflatten(0, (FAMILIES, members)) for each in encode_traits(people)]
    target = torch.arange(families * members).repeat_interleave(moments)
    while True:
        which = np.sort(rng.choice(FAMILIES, families, replace=False))
        when = np.stack([rng.choice(MOMENTS, moments, replace=False) for _ in which])
        x = source[which[:, None, None], np.arange(members)[None, :, None], when[:, None]]
        x = torch.from_numpy(x).flatten(0, 2).permute(0, 3, 1, 2).float()
        seen = [each[which].flatten(0, 1).repeat_interleave(moments, 0) for each in traits]
        yield augment(x / 127.5 - 1), (target, *seen)


def scene_batches(rng: np.random.Generator, size: int = 128):
    """Pictures of scenes, a little noisy, and their attributes."""
    source, labels = np.load(CACHE / "scenes.npy", mmap_mode="r"), torch.from_numpy(np.load(CACHE / "labels.npy"))
    while True:
        at = np.sort(rng.integers(0, len(source), size))
        x = F.avg_pool2d(torch.from_numpy(source[at]).permute(0, 3, 1, 2).float(), SIZE // RECOGNISER_SIZE)
        yield x / 127.5 - 1 + 0.05 * torch.randn_like(x), labels[at]


def described_batches(rng: np.random.Generator, side: int, size: int = 64):
    """The same pictures, ``side`` pixels wide, with the traits of who is to be seen, and the attributes."""
    source, labels = np.load(CACHE / "scenes.npy", mmap_mode="r"), torch.from_numpy(np.load(CACHE / "labels.npy"))
    seeds = range(FIRST_SEED["scenes"], FIRST_SEED["scenes"] + len(source))
    amounts, choices = encode_traits([Identity.sample(np.random.default_rng(seed)) for seed in seeds])
    while True:
        at = np.sort(rng.integers(0, len(source), size))
        x = F.avg_pool2d(torch.from_numpy(source[at]).permute(0, 3, 1, 2).float(), SIZE // side)
        yield augment(x / 127.5 - 1), (amounts[at], choices[at], labels[at])


class Recognition(nn.Module):
    """A recogniser and linear readings of the traits from its embedding: the loss of both."""

    def __init__(self, recogniser: nn.Module, features: int = 128):
        super().__init__()
        self.recogniser, self.traits = recogniser, nn.Linear(features, OUTPUTS)

    def forward(self, x: Tensor, target: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        features = F.normalize(self.recogniser(x).float(), dim=1)
        return contrast(features, target[0]) + TRAIT_WEIGHT * trait_loss(self.traits(10 * features), *target[1:])


class Reading(nn.Module):
    """A network that reads labels from a picture: its loss."""

    def __init__(self, network: nn.Module, loss):
        super().__init__()
        self.recogniser, self.loss = network, loss

    def forward(self, x: Tensor, target) -> Tensor:
        return self.loss(self.recogniser(x), target)


class Description(nn.Module):
    """Features from which traits and attributes can be read linearly: the loss of these readings."""

    def __init__(self, features: int = 64):
        super().__init__()
        self.recogniser = PlainRecogniser(features)
        self.traits = nn.Linear(features, OUTPUTS)
        self.attributes = nn.Linear(features, sum(len(choices) for choices in ATTRIBUTES.values()))

    def forward(self, x: Tensor, target: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        features = self.recogniser(x)
        read = read_loss(self.attributes(features), target[2]) / len(ATTRIBUTES)
        return trait_loss(self.traits(features), *target[:2]) + read


def train(name: str, minutes: float) -> nn.Module:
    torch.manual_seed({"guide": 11, "judge": 22, "attributes": 33, "reader": 66, "features": 77}[name])
    model = {
        "guide": lambda: Recognition(ResidualRecogniser()),
        "judge": lambda: Recognition(PlainRecogniser()),
        "attributes": lambda: Reading(AttributeReader(), read_loss),
        "reader": lambda: Reading(TraitReader(), lambda outputs, target: trait_loss(outputs, *target[:2])),
        "features": Description,
    }[name]()
    model = model.to(memory_format=torch.channels_last)
    training = Resumed(model, CACHE / f"{name}.pt", 2e-3, minutes, warm_up=50, clip=5.0, every=100)
    rng = np.random.default_rng(training.step)
    if name in ("guide", "judge"):
        batches = family_batches(name, rng)
    elif name == "attributes":
        batches = scene_batches(rng)
    else:
        batches = described_batches(rng, SIZE if name == "reader" else RECOGNISER_SIZE)
    for share in training.shares():
        x, target = next(batches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if share > 0.25 and training.step % 2 and name in ("guide", "judge"):
                x = adversary(lambda start, target=target: model(start, target), x, ADVERSARY)
            loss = model(x, target)
        training.update(loss, share)
    return model.recogniser.eval()


@torch.no_grad()
def rank(model: nn.Module, people: int = 200) -> dict[str, float]:
    """Share of new people whose second scene is nearest to their own first one among `people`, and the mean cosines."""
    pictures = []
    for seed in range(EVALUATION, EVALUATION + people):
        identity, rng = Identity.sample(np.random.default_rng(seed)), np.random.default_rng([seed, 1])
        pictures += [
            np.asarray(draw(identity, training_scene(rng), SIZE).reduce(SIZE // RECOGNISER_SIZE)) for _ in range(2)
        ]
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    features = F.normalize(model(x), dim=1)
    cosine = features[0::2] @ features[1::2].T
    first = (cosine.argmax(1) == torch.arange(people)).float().mean().item()
    others = cosine[~torch.eye(people, dtype=torch.bool)]
    return {
        "rank1": first,
        "same": cosine.diagonal().mean().item(),
        "other": others.mean().item(),
        "other_std": others.std().item(),
    }


@torch.no_grad()
def read_accuracy(model: nn.Module, count: int = 500) -> dict[str, float]:
    scenes = [training_scene(np.random.default_rng([EVALUATION + i, 2])) for i in range(count)]
    people = [Identity.sample(np.random.default_rng(EVALUATION + i)) for i in range(count)]
    pictures = [
        np.asarray(draw(who, scene, SIZE).reduce(SIZE // RECOGNISER_SIZE))
        for who, scene in zip(people, scenes, strict=True)
    ]
    logits = model(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1)
    accuracy = {}
    for name, group in by_attribute(logits).items():
        truth = torch.tensor([ATTRIBUTES[name].index(getattr(scene, name)) for scene in scenes])
        accuracy[name] = (group.argmax(1) == truth).float().mean().item()
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("guide", "judge", "attributes", "reader", "features"))
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    model = train(arguments.name, arguments.minutes)
    TRAINED.mkdir(exist_ok=True)
    recognises, size = arguments.name in ("guide", "judge"), SIZE if arguments.name == "reader" else RECOGNISER_SIZE
    file = TRAINED / f"{'recogniser_' if recognises else ''}{arguments.name}.onnx"
    example = torch.zeros(2, 3, size, size)
    axes = {"image": {0: "batch"}, "features": {0: "batch"}}
    torch.onnx.export(
        model, (example,), str(file), input_names=["image"], output_names=["features"], dynamic_axes=axes, dynamo=False
    )
    if recognises:
        print(rank(model))
    elif arguments.name == "attributes":
        print(read_accuracy(model))


if __name__ == "__main__":
    main()
