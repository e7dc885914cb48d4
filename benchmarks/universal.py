"""Guidance by what is where and by style, alone and with an identity, each measured by what did not guide.

    COMFYUI_PATH=... python benchmarks/universal.py
    COMFYUI_PATH=... python benchmarks/universal.py --quick    # to output/benchmarks

Segmentation: the background belongs where it is in a drawn picture of somebody at the left or the right.  `there`: the
overlap (intersection over union) of that mask with the pixels of the picture's color in its upper corners; no network
takes part.  Style: a drawn picture of somebody else, of which the prompt names neither background nor light.  `alike`:
the share of background and light that the network which reads what a prompt names finds in the style picture, too; it
did not guide.  judge: as in identity.py; where no identity guides, of the reference that is not asked for.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rivals  # noqa: F401  it says where the modules of demo/ are found
import torch
from labels import LABELS, draw_labels
from measure import QUICK, RESULTS, save
from rivals.basis import sample
from rivals.rectifid import guide
from rivals.scores import sem
from safetensors.torch import load_file
from torch import Tensor, nn
from traits import lab
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from world import (
    WEIGHTS,
    Identity,
    Scene,
    Triples,
    World,
    draw,
    guidance_by,
    machine,
    similarity,
    write_prompt,
)

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.discriminators.segmenter import load_segmenter
from rectifid_core.guidance.base import Guidance
from rectifid_core.guidance.combination import combine
from rectifid_core.guidance.segmentation import SegmentationGuidance
from rectifid_core.guidance.style import StyleGuidance
from rectifid_core.guidance.weighted_sum import Schedule
from rectifid_core.identity.encoding import encode_identity

NEAR = 20.0  # in CIE Lab: of the same color
SHOWN = 6


class Vision(nn.Module):
    """The embedded CLIP vision model: pictures in [-1, 1], (B, 3, 64, 64) -> (B, 32)."""

    def __init__(self):
        super().__init__()
        config = CLIPVisionConfig(**json.loads((WEIGHTS / "clip_vision.json").read_text()))
        self.model = CLIPVisionModelWithProjection(config)
        self.model.load_state_dict(load_file(WEIGHTS / "clip_vision.safetensors"), strict=False)
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixel_values=pixels).image_embeds


@dataclass
class Wishes:
    """Beside each question: a mask of where the background belongs, (n, 128, 128), and a picture with the style."""

    masks: Tensor
    layouts: Tensor  # the pictures whose background that is
    styles: Tensor

    @classmethod
    def draw(cls, triples: Triples) -> Wishes:
        masks, layouts, styles = [], [], []
        for n, scene in enumerate(triples.scenes):
            rng = np.random.default_rng([77, n])
            who = Identity.sample(rng)
            there = replace(scene, position="left" if n % 2 else "right")
            masks.append(draw_labels([(who, there)]) == LABELS.index("background"))
            layouts.append(np.asarray(draw(who, there)))
            styles.append(np.asarray(draw(who, Scene.sample(rng))))
        pictures = (torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2).float() / 255 for x in (layouts, styles))
        return cls(torch.from_numpy(np.stack(masks)).float(), *pictures)


def without_style(triples: Triples) -> Triples:
    """The same questions; their prompts name neither background nor light."""
    plain = [replace(scene, light="normal") for scene in triples.scenes]
    prompts = [write_prompt(scene)[0].split(", ")[0] for scene in plain]
    kept = [{k: v for k, v in named.items() if k in ("expression", "hat", "shirt")} for named in triples.named]
    return replace(triples, prompts=prompts, named=kept)


def background(image: Tensor) -> np.ndarray:
    """Where a picture (3, H, W) has the color of its upper corners, (H, W)."""
    pixels = (image.clamp(0, 1) * 255).permute(1, 2, 0).numpy()
    side = pixels.shape[0] // 10
    colors = [np.median(corner.reshape(-1, 3), axis=0) for corner in (pixels[:side, :side], pixels[:side, -side:])]
    distances = [np.linalg.norm(_lab(pixels) - lab(color), axis=-1) for color in colors]
    return np.minimum(*distances) < NEAR


def _lab(pixels: np.ndarray) -> np.ndarray:
    """`traits.lab` of each color that there is."""
    colors, where = np.unique(pixels.round().astype(int).reshape(-1, 3), axis=0, return_inverse=True)
    return np.array([lab(color) for color in colors])[where.reshape(-1)].reshape(pixels.shape)


def overlap(image: Tensor, mask: Tensor) -> float:
    found, wanted = background(image), mask.numpy() > 0.5
    return float((found & wanted).sum() / (found | wanted).sum())


def alike(world: World, images: Tensor, styles: Tensor) -> Tensor:
    """The share of background and light that is the style's, (B,)."""
    pairs = zip(world.attributes(images), world.attributes(styles), strict=True)
    return (
        torch.tensor([[one[name] == other[name] for name in ("background", "light")] for one, other in pairs])
        .float()
        .mean(1)
    )


class Bench:
    """The questions, what guides, and what measures."""

    def __init__(self, world: World, n: int, iterations: int):
        self.world, self.iterations = world, iterations
        self.triples = Triples.draw(n, "evaluation")
        self.wishes = Wishes.draw(self.triples)
        self.segmenter = load_segmenter(WEIGHTS / "segmenter")
        self.vision = EmbeddingDiscriminator(Vision(), name="style", digest="", input_size=64)

    def guidance(self, row: str, i: int) -> Guidance:
        if row.startswith("segmentation"):
            alone: Guidance = SegmentationGuidance(self.segmenter, "background", self.wishes.masks[i])
        else:
            alone = StyleGuidance(encode_identity(self.vision, [self.wishes.styles[i]]), self.vision)
        if not row.endswith("with identity"):
            return alone
        identity = guidance_by(self.world.guide, self.triples.references[i])
        return combine({"identity": (identity, Schedule()), "other": (alone, Schedule())})

    def questions(self, row: str) -> Triples:
        return without_style(self.triples) if row.startswith("style") else self.triples

    def measured(self, row: str, images: Tensor) -> dict:
        questions = self.questions(row)
        if row.startswith("segmentation"):
            values = torch.tensor([overlap(*pair) for pair in zip(images, self.wishes.masks, strict=True)])
        else:
            values = alike(self.world, images, self.wishes.styles)
        judge = similarity(self.world.judge, images, questions.references)
        prompt = self.world.prompt_accuracy(images, questions.scenes, questions.named)
        found = {"judge": judge, "prompt": prompt, "there" if row.startswith("segmentation") else "alike": values}
        return {name: each.mean().item() for name, each in found.items()} | {
            f"{name}_sem": sem(each) for name, each in found.items()
        }

    def run(self, row: str) -> tuple[dict, Tensor, Tensor]:
        questions = self.questions(row)
        plain = self.world.decode(sample(self.world.flow(questions.prompts), questions.noise))
        guided = torch.cat(
            [self._guided(questions.part(slice(i, i + 1)), self.guidance(row, i)) for i in range(len(questions))]
        )
        return {"row": row, "unguided": self.measured(row, plain), "guided": self.measured(row, guided)}, plain, guided

    def _guided(self, one: Triples, guidance: Guidance) -> Tensor:
        return guide(self.world, self.world.flow(one.prompts), guidance, one.noise, self.iterations)


ROWS = ("segmentation", "segmentation with identity", "style", "style with identity")


def grid(columns: dict[str, Tensor], path: Path) -> None:
    from PIL import Image, ImageDraw

    side, head, count = 118, 34, min(SHOWN, *map(len, columns.values()))
    sheet = Image.new("RGB", (side * len(columns), head + count * side), "white")
    pen = ImageDraw.Draw(sheet)
    for x, (title, pictures) in enumerate(columns.items()):
        pen.multiline_text(
            (x * side + 4, 3),
            title.replace(" with", "\nwith").replace(", ", "\n"),
            fill="black",
            font_size=12,
            spacing=2,
        )
        for y in range(count):
            pixels = (pictures[y].clamp(0, 1) * 255).round().byte()
            pixels = pixels.permute(1, 2, 0) if pixels.ndim == 3 else pixels
            sheet.paste(Image.fromarray(pixels.numpy()).resize((side - 4, side - 4)), (x * side + 2, head + y * side))
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    folder = QUICK if arguments.quick else RESULTS
    bench = Bench(World(), 4 if arguments.quick else arguments.n, 5 if arguments.quick else 20)
    layouts = torch.tensor([overlap(*pair) for pair in zip(bench.wishes.layouts, bench.wishes.masks, strict=True)])
    results = {"machine": machine(), "n": len(bench.triples), "drawn_there": layouts.mean().item(), "rows": []}
    columns = {"reference": bench.triples.references, "mask": bench.wishes.masks, "the style": bench.wishes.styles}
    for row in ROWS:
        found, plain, guided = bench.run(row)
        results["rows"].append(found)
        columns |= {row: guided} if row.endswith("identity") else {f"{row}, unguided": plain, row: guided}
        save(results, folder / "universal.json")
        print(json.dumps(found), flush=True)
    grid(columns, folder / "universal.png")


if __name__ == "__main__":
    main()
