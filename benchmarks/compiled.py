"""Does ComfyUI's TorchCompileModel pay before the sampler?

    COMFYUI_PATH=... python benchmarks/compiled.py

The sampler node on the embedded model, at the quickstart's settings: the plain model and the compiled one by turns, in
elapsed time; and what the first runs take, in which it compiles.  A gradient needs three graphs (of a forward without
autograd, and of a forward and its backward), and another set for each size of the picture.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch._inductor.config
from floor import ITERATIONS, Hosted
from measure import RESULTS, ratio, save, seconds
from world import Triples, machine

GRADIENTS = ("full", "windowed")


@torch.inference_mode()
def measure(repeats: int) -> dict:
    triples = Triples.draw(1, "evaluation")
    host = Hosted(triples.prompts[0], triples.references)
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    torch._inductor.config.force_disable_caches = True  # of earlier runs
    compiled = TorchCompileModel.execute(host.model, "inductor")[0]
    start = time.perf_counter()
    for gradient in GRADIENTS:
        host.run(model=compiled, gradient=gradient, iterations=1)
    results = {"first_seconds": time.perf_counter() - start}
    for gradient in GRADIENTS:
        runs = {
            "plain": lambda gradient=gradient: host.run(gradient=gradient),
            "compiled": lambda gradient=gradient: host.run(model=compiled, gradient=gradient),
        }
        times = seconds(runs, repeats)
        results[gradient] = {
            "seconds_per_iteration": {name: [each / (ITERATIONS + 1) for each in times[name]] for name in times},
            "compiled_over_plain": ratio(times, "compiled", "plain"),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {"machine": machine(), **measure(arguments.repeats)}
    save(results, RESULTS / "compiled.json")
    print(f"the first runs take {results['first_seconds']:.0f} s")
    for gradient in GRADIENTS:
        found = results[gradient]["compiled_over_plain"]
        print(f"{gradient}: {found['median']:.2f} ({found['least']:.2f} to {found['most']:.2f})")


if __name__ == "__main__":
    main()
