"""What the networks of the world are worth, measured on people and scenes that no training has seen.

    COMFYUI_PATH=... python demo/quality.py                 # of demo/weights
    COMFYUI_PATH=... python demo/quality.py --trained       # of what the stages have written to the cache
    COMFYUI_PATH=... python demo/quality.py --teacher       # its pictures by the teacher as it is, before the reflow

Writes quality.json beside the weights: how often the recognisers tell twins apart and the readers read right, the
decibels of the autoencoder, and of unguided pictures the prompt accuracy, how sure the trait reader is, and the Frechet
distance to drawn pictures in the features of a network that is trained for nothing else.  And samples.png: 8 x 8
unguided pictures, not chosen.  A network that is not there is left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from autoencoder import Autoencoder
from data import EVALUATION, SIZE, TRAINED, TRAITS, WEIGHTS, training_scene, twin
from PIL import Image
from portrait import ATTRIBUTES, Identity, Scene, draw, write_prompt
from safetensors.torch import load_file
from text_encoder import TextEncoder
from torch import Tensor
from torch.nn import functional as F
from train_flow import GUIDANCE, STEPS_PER_WINDOW, load
from train_recognisers import by_attribute
from train_text import Tokens, read_nothing
from traits import PERSON, agree, color_error, read_traits
from velocity import BOUNDARIES, Velocity

Network = Callable[[Tensor], Tensor]
PEOPLE, PAIRS, PICTURES = 200, 200, 1000


def network(path: Path) -> Network:
    """An exported network; it takes pictures of any size in [0, 1]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options)
    side = session.get_inputs()[0].shape[-1]

    def look(images: Tensor) -> Tensor:
        parts = [F.adaptive_avg_pool2d(part, side) * 2 - 1 for part in images.split(100)]
        return torch.cat([torch.from_numpy(session.run(None, {"image": part.numpy()})[0]) for part in parts])

    return look


def pictures_of(pairs: list[tuple[Identity, Scene]]) -> Tensor:
    drawn = np.stack([np.asarray(draw(*pair, SIZE)) for pair in pairs])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255


def someone(number: int) -> Identity:
    return Identity.sample(np.random.default_rng(EVALUATION + number))


def somewhere(number: int, moment: int = 0) -> Scene:
    return training_scene(np.random.default_rng([EVALUATION + number, 7 + moment]))


# --- recognisers ----------------------------------------------------------------------------------------------------


def first_of(recogniser: Network) -> float:
    """The share of people whose second scene is nearest to their own first one among all."""
    first, second = (
        F.normalize(recogniser(pictures_of([(someone(n), somewhere(n, moment)) for n in range(PEOPLE)])), dim=1)
        for moment in range(2)
    )
    return ((first @ second.T).argmax(1) == torch.arange(PEOPLE)).float().mean().item()


def twins_told_apart(recogniser: Network) -> dict[str, float]:
    """For each trait, how often a person's other scene is nearer to the first than that same scene with somebody who
    differs in that trait alone."""
    references = F.normalize(recogniser(pictures_of([(someone(n), somewhere(n)) for n in range(PAIRS)])), dim=1)
    others = F.normalize(recogniser(pictures_of([(someone(n), somewhere(n, 1)) for n in range(PAIRS)])), dim=1)
    right = (references * others).sum(1)
    shares = {}
    for number, trait in enumerate(TRAITS):
        twins = [twin(someone(n), trait, np.random.default_rng([EVALUATION + n, 20 + number])) for n in range(PAIRS)]
        seen = F.normalize(recogniser(pictures_of([(who, somewhere(n, 1)) for n, who in enumerate(twins)])), dim=1)
        shares[trait] = (right > (references * seen).sum(1)).float().mean().item()
    return shares


# --- readers --------------------------------------------------------------------------------------------------------


def read_right(reader: Network) -> dict[str, float]:
    """How often the trait reader reads each trait of a drawn picture, and by how much it is off in colors."""
    people = [someone(n) for n in range(PICTURES)]
    read = read_traits(reader(pictures_of([(who, somewhere(n)) for n, who in enumerate(people)])))
    shares = {
        trait: float(
            np.mean([agree(trait, said[trait], getattr(who, trait)) for said, who in zip(read, people, strict=True)])
        )
        for trait in TRAITS
    }
    for trait in ("skin", "hair_color"):
        off = [color_error(trait, said[trait], getattr(who, trait)) for said, who in zip(read, people, strict=True)]
        shares[f"{trait}_lab"] = float(np.mean(off))
    return shares


def sureness(reader: Network, images: Tensor) -> float:
    """The mean probability of what the trait reader chooses, over the traits that are choices."""
    _, logits = PERSON.split(reader(images))
    return float(np.mean([group.softmax(1).amax(1).mean().item() for group in logits]))


def prompt_accuracy(attributes: Network, images: Tensor, named: list[dict[str, str]]) -> dict[str, float]:
    """For each attribute, how often the picture has what the prompt names; `all` is the share of all that is named."""
    right: dict[str, list[bool]] = {name: [] for name in ATTRIBUTES}
    for name, group in by_attribute(attributes(images)).items():
        for mentioned, choice in zip(named, group.argmax(1).tolist(), strict=True):
            if name in mentioned:
                right[name].append(ATTRIBUTES[name][choice] == mentioned[name])
    shares = {name: float(np.mean(each)) for name, each in right.items()}
    return shares | {"all": float(np.mean([hit for each in right.values() for hit in each]))}


# --- pictures -------------------------------------------------------------------------------------------------------


def frechet(features: Network, images: Tensor, drawn: Tensor) -> float:
    """Between normal distributions with the mean and the covariance of each, (Heusel et al. 2017)."""
    a, b = (features(each).double() for each in (images, drawn))
    product = torch.linalg.eigvals(torch.cov(a.T) @ torch.cov(b.T)).real.clamp(min=0).sqrt().sum()
    return ((a.mean(0) - b.mean(0)).square().sum() + a.var(0).sum() + b.var(0).sum() - 2 * product).item()


@torch.no_grad()
def sample(model: Velocity, autoencoder: Autoencoder, prompts: list[str], guided: bool) -> Tensor:
    """Unguided pictures in [0, 1] for those prompts: of the reflowed flow in its four steps, or of the teacher with
    classifier-free guidance in as many as its trajectories have."""
    tokenize, generator = Tokens(), torch.Generator().manual_seed(0)
    nothing, images = read_nothing(model.text), []
    for part in torch.tensor([tokenize(prompt) for prompt in prompts]).split(100):
        context, pooled = model.text(part)
        read = torch.cat([context, pooled[:, None]], 1)
        z = torch.randn(len(part), 16, 16, 16, generator=generator)
        steps = STEPS_PER_WINDOW if guided else 1
        sigmas = [torch.linspace(a, b, steps + 1)[:-1] for a, b in itertools.pairwise(BOUNDARIES)]
        sigmas = torch.cat([*sigmas, torch.zeros(1)])
        for here, there in itertools.pairwise(sigmas):
            if guided:
                both = torch.cat([nothing.expand_as(read), read])
                plain, named = model.read(torch.cat([z, z]), here.expand(2 * len(z)), both).chunk(2)
                velocity = plain + GUIDANCE * (named - plain)
            else:
                velocity = model.read(z, here.expand(len(z)), read)
            z = z + (there - here) * velocity
        decoded = autoencoder.decode(z / Autoencoder.HOST_SCALE + Autoencoder.HOST_SHIFT)
        images.append((decoded / 2 + 0.5).clamp(0, 1))
    return torch.cat(images)


def sheet(images: Tensor, across: int = 8) -> Image.Image:
    rows = [torch.cat(list(row), 2) for row in images[: across * across].split(across)]
    return Image.fromarray((torch.cat(rows, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def load_flow(weights: Path) -> Velocity:
    model = Velocity(TextEncoder.from_state_dict(load_file(weights / "text_encoder.safetensors")))
    model.flow.load_state_dict(load_file(weights / "flow.safetensors"))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser()
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--trained", action="store_true")
    which.add_argument("--teacher", action="store_true")
    arguments = parser.parse_args()
    weights = TRAINED if arguments.trained or arguments.teacher else WEIGHTS
    names = ("recogniser_guide", "recogniser_judge", "attributes", "reader", "features")
    networks = {name: network(weights / f"{name}.onnx") for name in names if (weights / f"{name}.onnx").exists()}
    report: dict = {}
    for name in ("recogniser_guide", "recogniser_judge"):
        if name in networks:
            twins = twins_told_apart(networks[name])
            report[name] = {"first_of_200": first_of(networks[name]), "twins": twins}
            print(name, report[name], flush=True)
    if "reader" in networks:
        report["reader"] = read_right(networks["reader"])
        print("reader", report["reader"], flush=True)

    scenes = [somewhere(n) for n in range(PICTURES)]
    drawn = pictures_of([(someone(n), scene) for n, scene in enumerate(scenes)])
    autoencoder = Autoencoder()
    autoencoder.load_state_dict(load_file(weights / "autoencoder.safetensors"))
    autoencoder.eval()
    x = drawn[:200] * 2 - 1
    error = F.mse_loss(autoencoder.decode(autoencoder.encode(x)).clamp(-1, 1), x).item() / 4
    report["autoencoder_decibels"] = -10 * float(np.log10(error))
    prompts, named = zip(*map(write_prompt, scenes), strict=True)
    model = load("teacher") if arguments.teacher else load_flow(weights)
    images = sample(model, autoencoder, list(prompts), arguments.teacher)
    sheet(images).save(weights.parent / "samples.png")
    for name, each in (("unguided", images), ("drawn", drawn)):
        report[name] = {}
        if "attributes" in networks:
            report[name]["prompt"] = prompt_accuracy(networks["attributes"], each, list(named))
        if "reader" in networks:
            report[name]["sureness"] = sureness(networks["reader"], each)
    if "features" in networks:
        other = pictures_of([(someone(PICTURES + n), somewhere(PICTURES + n)) for n in range(PICTURES)])
        report["unguided"]["frechet"] = frechet(networks["features"], images, other)
        report["drawn"]["frechet"] = frechet(networks["features"], drawn, other)
    known = json.loads((WEIGHTS / "quality.json").read_text())
    report["before"] = known["before"]  # of the first weights: their pictures and the expressions that a prompt names
    print(json.dumps(report, indent=1))
    (weights / "quality.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
