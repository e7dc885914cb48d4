"""How far an iteration is from what it must take: from its own calls of the networks, and from the machine's limit.

    COMFYUI_PATH=... python benchmarks/floor.py

The embedded model on the CPU, at the quickstart's settings.  `bare` makes the calls of an iteration and nothing else: K
forwards of the flow, the decoder and the recogniser forward and backward, K windows forward and backward.  `solve` is
our solver; what it takes more is our overhead.  The same in the host, where the flow and the decoder are called as the
sampler node calls them: `bare in the host`, and the whole node with its loading, bar, preview and report.  All take
turns.

The floor is the time of the FLOPs that no iteration can do without, at the rate of this machine's quickest matrix
product: those of `bare` without the K forwards that are done again with a graph.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import hosted
import torch
from counting import cost
from measure import RESULTS, ratio, save, throughput
from torch import Tensor

ITERATIONS, VIEWS, GRADIENT = 5, 4, "windowed"
TARGET = 1.05  # our overhead is at most 5 %
PAIRS = {"solver": ("solve", "bare"), "node": ("node", "bare in the host"), "host": ("bare in the host", "bare")}
See = Callable[[Tensor, int], Tensor]


def seconds(run: Callable[[], object]) -> float:
    """The CPU time of one thread: what it takes on a machine that does nothing else."""
    start = time.process_time()
    run()
    return time.process_time() - start


# --- an iteration's calls -------------------------------------------------------------------------------------------


@torch.no_grad()
def forwards(flow, z: Tensor) -> list[Tensor]:
    """z_0 ... z_K."""
    states = [z]
    for k in range(len(flow)):
        states.append(flow.step(k, states[-1]))
    return states


def pull_backs(flow, decode, see: See, states: list[Tensor], iteration: int) -> Tensor:
    """g_0: the decoder and the energy, forward and backward, then each window, the last one first."""
    with torch.enable_grad():
        z = states[-1].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(see(decode(z), iteration).sum(), z)
        for k in reversed(range(len(flow))):
            z = states[k].detach().requires_grad_()
            (gradient,) = torch.autograd.grad(flow.step(k, z), z, gradient)
    return gradient


def bare(flow, decode, see: See, z0: Tensor, iterations: int) -> None:
    """The calls of a whole run, whose last iterate has no gradient."""
    for iteration in range(iterations):
        pull_backs(flow, decode, see, forwards(flow, z0), iteration)
    with torch.no_grad():
        see(decode(forwards(flow, z0)[-1]), iterations)


def floor_flops(flow, decode, see: See, z0: Tensor) -> int:
    """What an iteration must do at least: each network once forward and once backward, each window's K times."""

    def pull_back(call: Callable[[Tensor], Tensor]) -> int:
        def run() -> None:
            with torch.enable_grad():
                z = z0.detach().requires_grad_()
                end = call(z)
                torch.autograd.grad(end, z, torch.ones_like(end))

        return cost(run).flops

    return pull_back(lambda z: see(decode(z), 0)) + len(flow) * pull_back(lambda z: flow.step(0, z))


def recognise(eye, views, region, wanted: Tensor) -> See:
    """The recogniser's calls of an energy: all views with their gradient, and the plain crop without.

    eye: a discriminator; region: what it looks at; wanted: ``(D,)``, the embedding of the reference.
    """

    def see(image: Tensor, iteration: int) -> Tensor:
        crop = eye.crop(image, [region])
        with torch.no_grad():
            eye.embed(crop)
        return 100 * (1 - (eye.embed(views(crop, iteration)) @ wanted).view(views.count, -1).mean(dim=0))

    return see


# --- the contestants ------------------------------------------------------------------------------------------------


class Core:
    """The embedded model without the host, by the modules of `world`."""

    def __init__(self):
        from world import Triples, World, guidance_by

        from rectifid_core.images.views import Views

        world, triple = World(), Triples.draw(1, "evaluation")
        self.prompt, self.reference, self.noise = triple.prompts[0], triple.references, triple.noise
        self.flow, self.decode = world.flow(triple.prompts), world.decode
        self.guidance = guidance_by(world.guide, self.reference[0])
        identity = self.guidance.identity
        self.see = recognise(world.guide, Views(VIEWS, 0), identity.references[0].chosen, identity.embedding)

    def flops(self) -> int:
        return floor_flops(self.flow, self.decode, self.see, self.noise)

    def bare(self) -> float:
        return seconds(lambda: bare(self.flow, self.decode, self.see, self.noise, ITERATIONS))

    def solve(self) -> float:
        from rectifid_core.solver.solve import solve

        energy = self.guidance.energy(VIEWS, 0)
        run = solve(self.flow, self.decode, energy, self.noise, iterations=ITERATIONS, gradient=GRADIENT)
        return seconds(lambda: list(run))


class Hosted:
    """The same by the pack's nodes, in the host."""

    def __init__(self, prompt: str, reference: Tensor):
        self.pack = hosted.load("cpu")
        import nodes as host_nodes

        self.model, clip, vae = self.pack("nodes.demo").LoadDemoModel.execute().result
        self.eye = self.pack("nodes.demo").LoadDemoDiscriminator.execute()[0]
        self.guidance = hosted.identity_guidance(self.pack, self.eye, reference.movedim(1, -1))
        self.views = self.pack("rectifid_core.images.views").Views(VIEWS, 0)
        node = self.pack("nodes.sampling.sampler").AnchoredRectifiedSampler
        self.encode = lambda text: host_nodes.CLIPTextEncode().encode(clip, text)[0]
        inputs = {
            **hosted.defaults(node),
            "model": self.model,
            "positive": self.encode(prompt),
            "negative": self.encode(""),
            "latent_image": {"samples": torch.zeros(1, 16, 16, 16)},
            "vae": vae,
            "guidance": self.guidance,
            "iterations": ITERATIONS,
            "settings": self.pack("nodes.host.run.settings").SamplerSettings(views=VIEWS, gradient=GRADIENT),
        }
        self.run = lambda **changes: node.execute(**{**inputs, **changes})

    @torch.inference_mode()
    def node(self) -> float:
        return seconds(self.run)

    @torch.inference_mode()
    def bare(self) -> float:
        def probe(flow, decode, energy, z0, **settings) -> float:
            identity = self.guidance.identity
            see = recognise(self.eye, self.views, identity.references[0].chosen, identity.embedding.clone())
            return seconds(lambda: bare(flow, decode, see, z0, ITERATIONS))

        return hosted.at_the_solver(self.pack, self.run, probe)


def measure(repeats: int) -> dict:
    torch.set_num_threads(1)
    core = Core()
    host = Hosted(core.prompt, core.reference)
    contestants = {"bare": core.bare, "solve": core.solve, "bare in the host": host.bare, "node": host.node}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, run in contestants.items():
            taken = run()
            if turn:  # the first one does not count
                times[name].append(taken / (ITERATIONS + 1))
    flops, rate = core.flops(), throughput("cpu", torch.float32, time.process_time)
    return {
        "iterations": ITERATIONS,
        "seconds": times,
        "overhead": {name: ratio(times, *pair) for name, pair in PAIRS.items()},
        "target": TARGET,
        "flops": flops,
        "flops_per_second": rate,
        "floor_seconds": flops / rate,
        "over_floor": {name: median(each) * rate / flops for name, each in times.items()},
    }


def plot(results: dict, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure((8, 3), layout="constrained")
    panel = figure.subplots()
    middle = [1000 * median(each) for each in results["seconds"].values()]
    ends = [
        [1000 * (median(each) - min(each)) for each in results["seconds"].values()],
        [1000 * (max(each) - median(each)) for each in results["seconds"].values()],
    ]
    bars = panel.barh(list(results["seconds"]), middle, xerr=ends, color=["tab:gray", "tab:green"] * 2)
    panel.bar_label(bars, fmt="%.0f ms", padding=12, fontsize=8)
    panel.axvline(1000 * results["floor_seconds"], color="black", linestyle=":", label="floor")
    panel.invert_yaxis()
    panel.margins(x=0.15)
    panel.set_xlabel("milliseconds per iteration")
    panel.legend(fontsize=8)
    panel.set_title(f"The embedded model; {results['machine']}", fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    from world import machine

    results = {"machine": machine(), **measure(arguments.repeats)}
    save(results, RESULTS / "floor.json")
    plot(results, RESULTS / "floor.png")
    for name, (ours, other) in PAIRS.items():
        found = results["overhead"][name]
        print(f"{name}: {ours} over {other} {found['median']:.3f} ({found['least']:.3f} to {found['most']:.3f})")
    for name, over in results["over_floor"].items():
        print(f"{name}: {1000 * median(results['seconds'][name]):.1f} ms an iteration, {over:.2f} times the floor")


if __name__ == "__main__":
    main()
