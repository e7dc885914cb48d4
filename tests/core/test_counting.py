"""What benchmarks/counting.py counts without doing it is what doing it takes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(scope="module")
def cost():
    sys.path.append(BENCHMARKS)
    from counting import cost

    sys.path.remove(BENCHMARKS)
    return cost


@pytest.fixture(scope="module")
def peak_bytes():
    sys.path.append(BENCHMARKS)
    from measure import peak_bytes

    sys.path.remove(BENCHMARKS)
    return peak_bytes


def test_a_matrix_product(cost):
    a, b = torch.randn(100, 200), torch.randn(200, 300)
    counted = cost(lambda: a @ b)
    assert counted.flops == 2 * 100 * 200 * 300 and counted.bytes == 4 * 100 * 300


def test_attention_forward_and_backward(cost):
    q = torch.randn(1, 2, 64, 8)

    def run():
        x = q.clone().requires_grad_()
        torch.autograd.grad(F.scaled_dot_product_attention(x, x, x).sum(), x)

    product = 2 * 2 * 64 * 64 * 8  # of two heads
    assert cost(run).flops == 2 * product + 5 * product  # the backward computes the scores again


def test_a_view_takes_nothing_and_what_is_freed_counts_no_more(cost):
    x = torch.zeros(1000)

    def run():
        for _ in range(5):
            (x + 1).view(10, 100).T.sum()

    assert cost(run).bytes == 4 * 1000 + 4


def test_a_gradient_takes_what_the_profiler_says(cost, peak_bytes):
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Flatten(2), nn.Linear(1024, 64)
    ).requires_grad_(False)
    image = torch.randn(2, 3, 32, 32)

    def run():
        x = image.clone().requires_grad_()
        y = network(x)
        if not y.isfinite().all():  # which has no content here
            raise ValueError
        torch.autograd.grad(y.square().sum(), x)

    assert cost(run).bytes == pytest.approx(peak_bytes(run), rel=0.01)
