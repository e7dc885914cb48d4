"""The benchmark of real sizes runs, and counts what a real run takes."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.benchmarks import benchmark

networks, real_sizes = benchmark("networks"), benchmark("real_sizes")
hosted, peak_bytes = benchmark("hosted"), benchmark("measure").peak_bytes
TINY = networks.Model(networks.mmdit(2, 192, 192, 16), 64, 2, 2.0, 16, (8, 192), 192)


@pytest.fixture
def tiny(pack, parts):
    return lambda **changes: real_sizes.measure(
        pack,
        TINY,
        **{
            "side": 64,
            "dtype": "fp32",
            "gradient": "windowed",
            "iterations": 1,
            "recogniser": parts.recogniser,
            **changes,
        },
    )


def test_a_tiny_model_runs(tiny):
    row = tiny(rate=1e15)
    assert "not_run" not in row and len(row["seconds"]) == 1 and row["over_floor"] > 1
    # windowed runs each forward of the flow a second time
    assert row["floor_flops"] < row["flops"] < 1.5 * row["floor_flops"]
    key = {"model": "tiny", "side": 64, "dtype": "fp32", "vae": "KL", "gradient": "windowed", "card": None}
    assert "| tiny | 64 | fp32 | KL | windowed |" in real_sizes.table([{**key, **row}])


def test_a_small_vae_and_a_gradient_through_the_conditional_take_less(tiny):
    exact, small, conditional = tiny(gradient="full"), tiny(gradient="full", vae="TAESD"), tiny(gradient="conditional")
    assert conditional["setting"] == "full"
    for row in (small, conditional):
        assert row["flops"] < exact["flops"] and row["peak_bytes"] < exact["peak_bytes"]
    assert small["weights_bytes"] < exact["weights_bytes"]


def test_the_full_gradient_takes_more_memory_and_fewer_operations(tiny):
    windowed, full = (tiny(gradient=gradient) for gradient in ("windowed", "full"))
    assert full["flops"] == full["floor_flops"] == windowed["floor_flops"] < windowed["flops"]
    assert full["peak_bytes"] >= windowed["peak_bytes"]
    assert "not_run" in full and "seconds" not in full


def test_the_memory_of_a_card_decides_the_exact_gradient(tiny):
    small, large = tiny(gradient="exact", card=0.0), tiny(gradient="exact", card=24.0)
    assert (small["setting"], large["setting"]) == ("checkpointed", "full")
    assert small["peak_bytes"] < large["peak_bytes"]
    key = {"model": "tiny", "side": 64, "dtype": "fp32", "vae": "KL", "gradient": "exact", "card": 24.0}
    assert "| KL | exact: full (24 GiB) |" in real_sizes.table([{**key, **large}])


def test_what_does_not_fit_is_recorded_and_not_run(tiny, monkeypatch):
    monkeypatch.setattr(real_sizes, "SPARE", 1e9)
    row = tiny(rate=1e15)
    assert "GiB" in row["not_run"] and "seconds" not in row


def test_what_is_counted_is_what_a_run_takes(pack, parts):
    job = real_sizes.Job(pack, TINY, 64, torch.float32, "windowed", parts.recogniser)
    counted, *_ = job.count()
    job.fill()
    solve = pack("rectifid_core.solver.solve").solve

    def real(flow, decode, energy, z0, **settings):
        return peak_bytes(lambda: list(solve(flow, decode, energy, z0, **settings)))

    assert counted.bytes == pytest.approx(hosted.at_the_solver(pack, lambda: job.run(1), real), rel=0.05)


def test_rows_of_other_machines_stay(tmp_path):
    key = {"model": "sd15", "side": 512, "dtype": "bf16", "vae": "KL", "gradient": "full", "card": None}
    path = tmp_path / "results.json"
    real_sizes.keep({**key, "machine": "here", "n": 1}, path)
    real_sizes.keep({**key, "machine": "there", "n": 2}, path)
    rows = real_sizes.keep({**key, "machine": "here", "n": 3}, path)
    assert [(row["machine"], row["n"]) for row in rows] == [("here", 3), ("there", 2)]
