"""Junk at the sockets of every node, as a switch or a wildcard node may bring it: a message that names the socket."""

from __future__ import annotations

import pytest
import torch

JUNK = [None, 5, "text", {}, {"samples": 3}, [[1, 2]], torch.zeros(2), object()]


@pytest.fixture
def sockets(nodes, pack):
    kinds = pack("nodes.sockets").KINDS
    return [
        (name, each, kinds[each.io_type])
        for name, node in nodes.items()
        for each in node.define_schema().inputs or ()
        if each.io_type in kinds
    ]


def test_junk_is_refused_by_the_name_of_its_socket(sockets, run):
    assert {socket.id for _, socket, _ in sockets} >= {
        "model",
        "vae",
        "positive",
        "latent_image",
        "report",
        "clip_vision",
    }
    for name, socket, kind in sockets:
        for junk in JUNK:
            if kind.holds(junk) or (junk is None and socket.optional):
                continue
            with pytest.raises(ValueError, match=f"arrives at {socket.id}, where .* should: connect"):
                run(name, **({"prompts": "a hat"} if name == "EncodePromptBatch" else {}), **{socket.id: junk})


def test_what_belongs_there_passes(sample, run):
    report = sample(iterations=0).result[2]
    assert run("PlotConvergence", report=report).result[0].ndim == 4


def test_a_checkpoint_without_a_vae_is_told_as_such(sample):
    with pytest.raises(ValueError, match="There is no VAE"):
        sample(vae=None)
