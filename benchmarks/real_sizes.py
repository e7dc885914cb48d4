"""One guided iteration of networks in their real size, by the sampler node: its time, its FLOPs, its memory.

    COMFYUI_PATH=... python benchmarks/real_sizes.py                    # every model that fits, the others counted
    COMFYUI_PATH=... python benchmarks/real_sizes.py --model sd15       # on the GPU, if there is one
    COMFYUI_PATH=... python benchmarks/real_sizes.py --model z_image --count

The host's own classes and loaders with random weights: the flow; the KL VAE of its family, or a TAESD; and behind it an
ArcFace ResNet-100, which looks at a fixed box, since there is no face in what random weights draw.  4 views, as usual.

FLOPs and memory are counted first, on tensors without content, so that a model needs neither room nor time for that;
what does not fit is left at it, and said so.  The peak is the weights of all networks and the most that the tensors of
an iteration take at one time.  On a GPU, its own figure stands beside it.  The floor is the time of the FLOPs that no
iteration can do without, at the device's quickest matrix product (see `floor.py`).

Results are kept by (model, side, dtype, VAE, gradient, card, machine), so that another machine adds its rows.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import hosted
import torch
from counting import Cost, cost
from discriminators import high_water, write_resnet_100
from floor import floor_flops
from measure import RESULTS, throughput
from networks import MODELS, VAES, Model
from tables import cells
from tables.costs import REAL_SIZE, gradient_taken, real_size
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

GIB = 2**30
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
BOX = (0.25, 0.25, 0.75, 0.75)
OVER_FLOOR = 2.5  # target, on a GPU
SMALLEST = "checkpointed"  # the gradient whose peak has a target
SPARE = 1.15  # what is free must exceed the peak by: kernels take room too
SLOW, PATIENCE = 4, 1800  # what would take more than so many seconds, at so many times the floor, is not run


class WithoutContent(TorchFunctionMode):
    """Inside, the host's loaders take states of meta tensors, and a weight stays as it was allocated.

    The memory of a CPU is taken when it is written to: so a network can be there, and be counted, that has no room.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is Tensor.copy_ and args[1].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def fill(network: nn.Module) -> None:
    """Random weights, quickly: one block of numbers again and again, smaller the more inputs a weight has."""
    block = torch.randn(2**20 + 7, generator=torch.Generator().manual_seed(0))
    for module in network.modules():
        for leaf, weight in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            spread = 0.5 / max(weight[0].numel(), 1) ** 0.5 if weight.ndim > 1 else 0.02
            numbers = (spread * block).to(weight)
            flat = weight.view(-1)
            for start in range(0, len(flat), len(block)):
                part = flat[start : start + len(block)]
                part.copy_(numbers[: len(part)])
            if leaf == "weight" and "Norm" in type(module).__name__:
                weight += 1


# --- a run ----------------------------------------------------------------------------------------------------------


class Job:
    """The sampler node on one model, ready to run; its weights have no content before `fill`.

    recogniser: an ONNX file; vae: one of `VAES`.
    """

    def __init__(
        self, pack, model: Model, side: int, dtype: torch.dtype, gradient: str, recogniser: Path, vae: str = "KL"
    ):
        import comfy.ops
        import comfy.sd

        self.pack = pack
        layers = comfy.ops.disable_weight_init
        with WithoutContent(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one for each weight
            state = model.build(device="meta", dtype=dtype, operations=layers).state_dict()
            self.model = comfy.sd.load_diffusion_model_state_dict(state, model_options={"dtype": dtype})
            self.vae = comfy.sd.VAE(sd=VAES[vae](model.channels, "meta").state_dict(), dtype=dtype)
        if self.model.model.manual_cast_dtype not in (None, dtype):  # a CPU is thought to be slow in half precision
            self.model.set_model_compute_dtype(dtype)
        eye = pack("nodes.host.networks.discriminators").load_discriminator(recogniser, box=BOX)
        generator = torch.Generator().manual_seed(0)
        guidance = hosted.identity_guidance(pack, eye, [torch.rand(256, 256, 3, generator=generator)])
        pooled = {} if model.pooled is None else {"pooled_output": torch.zeros(1, model.pooled)}
        prompt = [[torch.randn(1, *model.context, generator=generator), pooled]]
        self.node = pack("nodes.sampling.sampler").AnchoredRectifiedSampler
        self.inputs = {
            **hosted.defaults(self.node),
            "model": self.model,
            "positive": prompt,
            "negative": prompt,
            "latent_image": {"samples": torch.zeros(1, model.channels, side // 8, side // 8)},
            "vae": self.vae,
            "guidance": guidance,
            "steps": model.steps,
            "cfg": model.cfg,
            "settings": pack("nodes.host.run.settings").SamplerSettings(gradient=gradient),
        }
        self.networks = [self.model.model.diffusion_model, self.vae.first_stage_model, *eye.networks]

    def run(self, iterations: int) -> list[float]:
        """The seconds of each iteration; the first one warms up."""
        result = self.node.execute(**{**self.inputs, "iterations": iterations}).result
        return result[2].seconds[:-1]  # the last iterate has no gradient

    def count(self) -> tuple[Cost, int, str]:
        """Of an iteration, the FLOPs that none can do without, and what the gradient came to."""
        solve = self.pack("rectifid_core.solver.solve").solve

        def probe(flow, decode, energy, z0, **settings) -> tuple[Cost, int, str]:
            name = settings["gradient"].name
            one = cost(lambda: next(solve(flow, decode, energy, z0, **settings)))
            return one, floor_flops(flow, decode, lambda image, number: energy(image, number).energy, z0), name

        return hosted.at_the_solver(self.pack, lambda: self.run(1), probe)

    def fill(self) -> None:
        for network in self.networks[:2]:  # the recogniser has its weights
            fill(network)

    @property
    def parameters(self) -> int:
        return sum(weight.numel() for weight in self.networks[0].parameters())

    @property
    def weights(self) -> int:
        """Bytes, of all networks."""
        return sum(weight.nbytes for network in self.networks for weight in network.parameters())


@torch.inference_mode()
def measure(
    pack,
    model: Model,
    *,
    side: int,
    dtype: str,
    gradient: str,
    iterations: int,
    recogniser: Path,
    vae: str = "KL",
    rate: float = 0.0,
    card: float | None = None,
) -> dict[str, Any]:
    """A row of the results; with ``rate`` 0 it is counted and not run.

    rate: FLOPs per second of the device in this type.
    card: GiB of a GPU, into which a gradient that fits itself has to fit; None: into what is free here.
    """
    import comfy.model_management as management

    device = management.get_torch_device()
    free = management.get_free_memory(device)
    job = Job(pack, model, side, DTYPES[dtype], gradient, recogniser, vae)
    with nullcontext() if card is None else a_card(pack, max(card * GIB - job.weights, 2**20)):
        counted, least, setting = job.count()
    row = {
        "setting": setting,
        "steps": model.steps,
        "cfg": model.cfg,
        "parameters": job.parameters,
        "weights_bytes": job.weights,
        "tensors_bytes": counted.bytes,
        "peak_bytes": job.weights + counted.bytes,
        "flops": counted.flops,
        "floor_flops": least,
    }
    if side == model.side and gradient == SMALLEST and model.target is not None:
        row["target"] = {"peak_gib": model.target, "met": row["peak_bytes"] < model.target * GIB}
    if not rate:
        return row | {"not_run": "counted only"}
    row["floor_seconds"] = least / rate
    if row["peak_bytes"] * SPARE > free:
        return row | {"not_run": f"needs {row['peak_bytes'] * SPARE / GIB:.1f} GiB, {free / GIB:.1f} free"}
    if (iterations + 1) * SLOW * row["floor_seconds"] > PATIENCE:
        return row | {"not_run": f"over {PATIENCE / 60:.0f} minutes"}
    job.fill()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = job.run(iterations)
    row |= {"seconds": seconds, "over_floor": median(seconds[1:] or seconds) / row["floor_seconds"]}
    row["process_bytes"] = 1e6 * high_water()
    if device.type == "cuda":
        row["device_bytes"] = torch.cuda.max_memory_allocated(device)
        row["target_over_floor"] = {"most": OVER_FLOOR, "met": row["over_floor"] <= OVER_FLOOR}
        if "target" in row:
            row["target"]["met"] = row["device_bytes"] < model.target * GIB
    return row


@contextmanager
def a_card(pack, free: float) -> Iterator[None]:
    """Inside, the host plans as for a GPU on which so many bytes are free once the weights are there."""
    import comfy.model_management as management

    def get_free_memory(device: Any = None, torch_free_too: bool = False) -> float | tuple[float, float]:
        return (free, free) if torch_free_too else free

    attribute = pack("nodes.host.gradient.autograd").attribute
    with (
        attribute(management, "get_free_memory", get_free_memory),
        attribute(management, "pytorch_attention_flash_attention", lambda: True),
    ):
        yield


# --- results --------------------------------------------------------------------------------------------------------


KEY = ("model", "side", "dtype", "vae", "gradient", "card")
COLUMNS = (*REAL_SIZE, "target", "time", "floor")


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; memory in GiB, the time of an iteration in seconds and as a multiple of the floor."""
    lines = []
    for row in rows:
        target, over = row.get("target"), row.get("target_over_floor")
        lines.append(
            (
                *real_size(row),
                f"{target['peak_gib']}: {_met(target)}" if target else "",
                f"{median(row['seconds']):.1f}" if "seconds" in row else row["not_run"],
                (f"{row['over_floor']:.2f}" if "seconds" in row else "") + (f" ({_met(over)})" if over else ""),
            )
        )
    return cells.table(COLUMNS, lines)


def _met(target: dict[str, Any]) -> str:
    return "met" if target["met"] else "missed"


def keep(row: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """All rows by now; a new one replaces that of the same key."""

    def key(row: dict[str, Any]) -> tuple:
        return tuple(row[name] for name in (*KEY, "machine"))

    old = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = sorted({key(each): each for each in (*old, row)}.values(), key=lambda row: tuple(map(str, key(row))))
    path.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """The peaks, and where the targets are."""
    from matplotlib.figure import Figure

    figure = Figure((9, 1 + 0.32 * len(rows)), layout="constrained")
    panel = figure.subplots()
    names = [f"{row['model']} {row['side']}, {row['dtype']}, {row['vae']}, {gradient_taken(row)}" for row in rows]
    places = range(len(rows))
    weights = [row["weights_bytes"] / GIB for row in rows]
    panel.barh(places, weights, color="lightgray", label="weights")
    tensors = [row["tensors_bytes"] / GIB for row in rows]
    bars = panel.barh(places, tensors, left=weights, color="tab:green", label="an iteration's tensors")
    panel.bar_label(bars, [f"{row['peak_bytes'] / GIB:.1f}" for row in rows], padding=4, fontsize=8)
    targets = [(place, row["target"]["peak_gib"]) for place, row in zip(places, rows, strict=True) if "target" in row]
    for place, target in targets:
        panel.plot(
            [target] * 2, [place - 0.4, place + 0.4], color="tab:red", label="target" if place == targets[0][0] else ""
        )
    panel.set_yticks(places, names, fontsize=8)
    panel.invert_yaxis()
    panel.margins(x=0.1)
    panel.set_xlabel("GiB at the peak, counted")
    panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def machine(device: torch.device) -> str:
    from world import machine as cpu

    return torch.cuda.get_device_name(device) + f", torch {torch.__version__}" if device.type == "cuda" else cpu()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, help="one of them; without, all, each in a process of its own")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--vae", choices=VAES, default="KL", help="the small one stands for the host's TAESD files")
    parser.add_argument(
        "--gradient", nargs="+", default=["straight", "full", "windowed", SMALLEST], help="the node's setting"
    )
    parser.add_argument("--side", type=int, help="of the picture in pixels; without, what the model is made for")
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--card", type=float, help="GiB of a GPU for which auto, conditional and straight are counted")
    parser.add_argument("--count", action="store_true", help="do not run, only count FLOPs and memory")
    arguments = parser.parse_args()
    if arguments.model is None:
        for name in MODELS:
            subprocess.run([sys.executable, __file__, "--model", name, *sys.argv[1:]], check=True)
        return
    logging.getLogger().setLevel(logging.ERROR)  # the host's
    pack = hosted.load(arguments.device)
    import comfy.model_management

    device = comfy.model_management.get_torch_device()
    rate = 0.0 if arguments.count else throughput(str(device), DTYPES[arguments.dtype])
    model = MODELS[arguments.model]
    side = arguments.side or model.side
    with tempfile.TemporaryDirectory() as folder:
        recogniser = Path(folder, "resnet_100.onnx")
        write_resnet_100(recogniser)
        for gradient in arguments.gradient:
            comfy.model_management.unload_all_models()
            measured = measure(
                pack,
                model,
                side=side,
                dtype=arguments.dtype,
                gradient=gradient,
                iterations=arguments.iterations,
                recogniser=recogniser,
                vae=arguments.vae,
                rate=rate,
                card=arguments.card,
            )
            key = (arguments.model, side, arguments.dtype, arguments.vae, gradient, arguments.card)
            key = dict(zip(KEY, key, strict=True))
            row = {**key, "machine": machine(device), "date": date.today().isoformat(), **measured}
            kept = keep(row, RESULTS / "real_sizes.json")
            plot(kept, RESULTS / "real_sizes.png")
    print(table(kept))


if __name__ == "__main__":
    main()
