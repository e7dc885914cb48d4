"""What each way to the gradient keeps in memory: the sampler node in the host, on the embedded model.

    COMFYUI_PATH=... python benchmarks/memory.py

The peak of the tensors that a run of two iterations makes, without the weights; counted, not sampled.  The reference is
what the published loop holds: one graph of all four windows, the decoder and the recogniser, on the plain picture.
"""

from __future__ import annotations

import torch
from floor import Hosted
from measure import RESULTS, peak_bytes, save
from world import Triples, machine

PUBLISHED = {"gradient": "full", "views": 0}
OURS = [
    *({"gradient": gradient, "views": views} for gradient in ("full", "windowed", "checkpointed") for views in (4, 0)),
    *({"update_rule": "single_pass", "views": views} for views in (4, 0)),
]


def main() -> None:
    triples = Triples.draw(1, "evaluation")
    node = Hosted(triples.prompts[0], triples.references)

    @torch.inference_mode()
    def peak(settings: dict) -> int:
        node.run(iterations=2, **settings)  # the host's own allocations, of the first time
        return peak_bytes(lambda: node.run(iterations=2, **settings))

    published = peak(PUBLISHED)
    rows = []
    for settings in OURS:
        size = peak(settings)
        rows.append({**settings, "bytes": size, "ratio": size / published})
        print(settings, f"{size / 2**20:.1f} MiB, {rows[-1]['ratio']:.2f}")
    results = {"machine": machine(), "published_bytes": published, "rows": rows}
    save(results, RESULTS / "memory.json")


if __name__ == "__main__":
    main()
