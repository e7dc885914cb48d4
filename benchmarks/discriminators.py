"""How long the face discriminator takes and how much memory, next to insightface's own FaceAnalysis on the same images.

    python benchmarks/discriminators.py --pack /path/to/a/pack      # a folder with a SCRFD detector and a recogniser

Two recognisers behind the pack's detector: its own, and an ArcFace ResNet-100 of the real size (65 million parameters,
112 x 112 to 512 numbers) whose weights are random, since time and memory do not depend on them.  Ours and insightface's
take turns, image by image, so that whatever else the machine does falls on both; each ratio is of one such turn.
Memory is the high-water mark of a process that does nothing else.  On a machine that is busy with other things, give it
one core (on Linux `taskset -c 0` before the command): threads that wait for each other measure the others' work.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path

import numpy as np
from measure import RESULTS, save

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# AI-made portraits in the media packages of ComfyUI's workflow templates.
PORTRAITS = {
    "comfyui-workflow-templates-media-image": ["flux_fill_inpaint_example-1.webp"],
    "comfyui-workflow-templates-media-other": ["hidream_i1_dev-1.webp", "image_z_image_turbo-1.webp"],
}
STAGES = {"locate": "locate", "embed": "crop + embed", "gradient": "crop + embed + backward"}
PROCESSES = {"imports": "imports only", "embed": "locate, crop, embed", "gradient": "and backward", "insightface": ""}


def image_files() -> list[Path]:
    """The group photo inside insightface, and the portraits."""
    found = [file.locate() for file in files("insightface") if file.match("data/images/t1.jpg")]
    for package, names in PORTRAITS.items():
        found += [file.locate() for file in files(package) if file.name in names]
    return [Path(path) for path in found]


# --- the two implementations ----------------------------------------------------------------------------------------


class Ours:
    """Our discriminator, on the GPU where there is one."""

    def __init__(self, pack: Path):
        import torch

        from rectifid_core.discriminators.faces.discriminator import load_face_discriminator

        self.torch = torch
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.discriminator = load_face_discriminator(pack)
        for network in self.discriminator.networks:
            network.to(self.device)

    def read(self, path: Path):
        """``(1, 3, H, W)`` in [0, 1]."""
        from PIL import Image

        pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
        return self.torch.from_numpy(pixels).movedim(-1, 0)[None].to(self.device)

    def locate(self, image):
        with self.torch.no_grad():
            (regions,) = self.discriminator.locate(image)
        return regions[0]

    def embed(self, image, region):
        with self.torch.no_grad():
            return self.discriminator.embed(self.discriminator.crop(image, [region])).cpu()

    def gradient(self, image, region):
        image = image.detach().requires_grad_()
        embedding = self.discriminator.embed(self.discriminator.crop(image, [region]))
        (gradient,) = self.torch.autograd.grad(embedding[:, 0].sum(), image)
        return gradient.cpu()


class Insightface:
    """FaceAnalysis, with the same two files, one face an image."""

    def __init__(self, pack: Path):
        from insightface.app import FaceAnalysis

        self.analysis = FaceAnalysis(str(pack), allowed_modules=["detection", "recognition"])
        self.analysis.prepare(ctx_id=0, det_size=(640, 640))

    @staticmethod
    def read(path: Path) -> np.ndarray:
        """``(H, W, 3)`` BGR bytes."""
        from PIL import Image

        return np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB"))[..., ::-1])

    def locate(self, image):
        from insightface.app.common import Face

        boxes, landmarks = self.analysis.det_model.detect(image, max_num=1)
        return Face(bbox=boxes[0, :4], kps=landmarks[0], det_score=boxes[0, 4])

    def embed(self, image, face):
        return self.analysis.models["recognition"].get(image, face)


# --- measuring ------------------------------------------------------------------------------------------------------


def seconds(call: Callable, *arguments) -> float:
    """Every call measured here ends with its result on the CPU, so that a GPU has finished, too."""
    begin = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - begin


def measure_times(pack: Path, images: list[Path], repeats: int) -> dict:
    """Milliseconds per image, and ours over insightface's: the median and the range of the repeats."""
    ours, theirs = Ours(pack), Insightface(pack)
    pairs = [(ours.read(path), theirs.read(path)) for path in images]
    faces = [(ours.locate(mine), theirs.locate(other)) for mine, other in pairs]  # and warms up
    for (mine, other), (region, face) in zip(pairs, faces, strict=True):
        ours.gradient(mine, region), theirs.embed(other, face)
    turns: dict[str, list[float]] = {f"{who} {stage}": [] for stage in STAGES for who in ("ours", "insightface")}
    for _ in range(repeats):
        turn = dict.fromkeys(turns, 0.0)
        for (mine, other), (region, face) in zip(pairs, faces, strict=True):
            turn["ours locate"] += seconds(ours.locate, mine)
            turn["insightface locate"] += seconds(theirs.locate, other)
            turn["ours embed"] += seconds(ours.embed, mine, region)
            turn["insightface embed"] += seconds(theirs.embed, other, face)
            turn["ours gradient"] += seconds(ours.gradient, mine, region)
        turn["insightface gradient"] = turn["insightface embed"]  # it has none: what it does without one
        for name, total in turn.items():
            turns[name].append(1000 * total / len(images))
    result = {}
    for stage in STAGES:
        mine, other = (np.array(turns[f"{who} {stage}"]) for who in ("ours", "insightface"))
        result[stage] = {"ours": spread(mine), "insightface": spread(other), "ratio": spread(mine / other)}
    return result


def spread(values: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(values)), "min": float(values.min()), "max": float(values.max())}


def peak_memory(what: str, pack: Path, images: list[Path]) -> dict[str, float]:
    """Run one kind of work in this process and return its high-water marks in MB."""
    if what == "insightface":
        analysis = Insightface(pack).analysis
        for path in images:
            analysis.get(Insightface.read(path), max_num=1)
        return {"process": high_water()}
    if what == "imports":
        import insightface.app  # noqa: F401
        import rectifid_core.faces  # noqa: F401

        return {"process": high_water()}
    ours = Ours(pack)
    for path in images:
        image = ours.read(path)
        getattr(ours, what)(image, ours.locate(image))
    peak = {"process": high_water()}
    if ours.device.type == "cuda":
        peak["gpu"] = ours.torch.cuda.max_memory_allocated() / 1e6
    return peak


def high_water() -> float:
    """MB.  Linux says it of the program; ru_maxrss there would include the process that this one was started from."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def in_child(*arguments: str) -> dict:
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


# --- a recogniser of the real size ----------------------------------------------------------------------------------


def write_resnet_100(path: Path) -> int:
    """An ArcFace ResNet-100 with random weights as an ONNX file; returns its number of parameters."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng, nodes, weights = np.random.default_rng(0), [], []

    def weight(shape: tuple[int, ...], scale: float, offset: float = 0.0) -> str:
        name = f"w{len(weights)}"
        values = rng.standard_normal(shape, np.float32) * np.float32(scale) + np.float32(offset)
        weights.append(numpy_helper.from_array(values, name))
        return name

    def add(kind: str, *inputs: str, **attributes) -> str:
        output = f"x{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def norm(x: str, channels: int) -> str:
        mean, variance = weight((channels,), 0.0), weight((channels,), 0.0, 1.0)
        return add("BatchNormalization", x, weight((channels,), 0.1, 1.0), weight((channels,), 0.1), mean, variance)

    def conv(x: str, inside: int, outside: int, side: int, stride: int, gain: float = 1.0) -> str:
        kernel = weight((outside, inside, side, side), gain * (inside * side * side) ** -0.5)
        pads = [side // 2] * 4
        return add("Conv", x, kernel, weight((outside,), 0.1), kernel_shape=[side] * 2, strides=[stride] * 2, pads=pads)

    def prelu(x: str, channels: int) -> str:
        return add("PRelu", x, weight((channels, 1, 1), 0.0, 0.25))

    x, inside = prelu(conv("image", 3, 64, 3, 1), 64), 64
    for channels, blocks in ((64, 3), (128, 13), (256, 30), (512, 3)):
        for block in range(blocks):
            stride = 2 if block == 0 else 1
            y = prelu(conv(norm(x, inside), inside, channels, 3, 1), channels)
            y = conv(y, channels, channels, 3, stride, gain=0.2)  # or 49 blocks would add up to thousands
            x = add("Add", y, conv(x, inside, channels, 1, stride) if block == 0 else x)
            inside = channels
    x = add("Flatten", norm(x, 512))
    x = add("Gemm", x, weight((512, 512 * 7 * 7), (512 * 7 * 7) ** -0.5), weight((512,), 0.1), transB=1)
    nodes.append(helper.make_node("Identity", [x], ["embedding"]))

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 112, 112])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 512])
    graph = helper.make_graph(nodes, "resnet_100", [image], [embedding], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return sum(int(np.prod(tensor.dims)) for tensor in weights)


# --- results --------------------------------------------------------------------------------------------------------


def plot(results: dict, path: Path) -> None:
    """Time per image by stage, and peak memory, for each recogniser."""
    from matplotlib.figure import Figure

    figure = Figure((13, 6.5), layout="constrained")
    panels = figure.subplots(2, len(results["recognisers"]), squeeze=False)
    for column, (name, row) in enumerate(results["recognisers"].items()):
        times, memory = panels[:, column]
        for place, (who, colour) in enumerate({"ours": "tab:green", "insightface": "tab:gray"}.items()):
            stages = [stage for stage in STAGES if not (who == "insightface" and stage == "gradient")]
            middle = np.array([row["milliseconds"][stage][who]["median"] for stage in stages])
            ends = np.array([[row["milliseconds"][stage][who][end] for stage in stages] for end in ("min", "max")])
            bars = times.barh(
                np.arange(len(stages)) + 0.4 * place, middle, 0.38, color=colour, label=who, xerr=abs(ends - middle)
            )
            times.bar_label(bars, fmt="%.0f ms", padding=10, fontsize=8)
        times.set_yticks(np.arange(len(STAGES)) + 0.2, list(STAGES.values()))
        times.margins(x=0.25)
        times.invert_yaxis()
        times.set_title(f"{name}: time per image", fontsize=10)
        times.legend(fontsize=8, loc="center right")
        peaks = row["peak_memory_mb"]
        labels = [f"{'insightface' if key == 'insightface' else 'ours'}: {PROCESSES[key]}".strip(": ") for key in peaks]
        labels[0] = PROCESSES["imports"]
        colours = ["lightgray", "tab:green", "tab:green", "tab:gray"]
        bars = memory.barh(labels, [peak["process"] for peak in peaks.values()], color=colours)
        memory.bar_label(bars, fmt="%.0f MB", padding=4, fontsize=8)
        memory.margins(x=0.2)
        memory.invert_yaxis()
        memory.set_title(f"{name}: peak memory of the process", fontsize=10)
    title = f"{results['images']} images, {results['repeats']} repeats; {results['cores_used']} core(s) of "
    figure.suptitle(title + results["machine"], fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", type=Path, required=True, help="a folder with a SCRFD detector and a recogniser")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--child", choices=("times", *PROCESSES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    images = image_files()
    if arguments.child:
        work = (
            measure_times(arguments.pack, images, arguments.repeats)
            if arguments.child == "times"
            else peak_memory(arguments.child, arguments.pack, images)
        )
        print(json.dumps(work))
        return

    from world import machine

    from rectifid_core.discriminators.faces.pack import read_pack

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    results = {"machine": machine(), "cores_used": cores, "images": len(images), "repeats": arguments.repeats}
    results["recognisers"] = {}
    given = read_pack(arguments.pack)
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder, "resnet100")
        large.mkdir()
        shutil.copy(given.detector, large)
        parameters = write_resnet_100(large / "resnet100.onnx")
        print(f"an ArcFace ResNet-100 with {parameters / 1e6:.1f} million parameters")
        for name, pack in {given.recogniser.stem: arguments.pack, "ResNet-100 (random weights)": large}.items():
            row = {
                "milliseconds": in_child("--child", "times", "--pack", str(pack), "--repeats", str(arguments.repeats))
            }
            row["peak_memory_mb"] = {what: in_child("--child", what, "--pack", str(pack)) for what in PROCESSES}
            results["recognisers"][name] = row
            print(name, json.dumps(row, indent=1), flush=True)
    save(results, RESULTS / "discriminators.json")
    plot(results, RESULTS / "discriminators.png")


if __name__ == "__main__":
    main()
