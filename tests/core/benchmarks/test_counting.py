"""What benchmarks/counting.py counts without doing it is what doing it takes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.benchmarks import benchmark

cost, peak_bytes = benchmark("counting").cost, benchmark("measure").peak_bytes


def test_a_matrix_product():
    a, b = torch.randn(100, 200), torch.randn(200, 300)
    counted = cost(lambda: a @ b)
    assert counted.flops == 2 * 100 * 200 * 300 and counted.bytes == 4 * 100 * 300


def test_attention_forward_and_backward():
    q = torch.randn(1, 2, 64, 8)

    def run():
        x = q.clone().requires_grad_()
        torch.autograd.grad(F.scaled_dot_product_attention(x, x, x).sum(), x)

    product = 2 * 2 * 64 * 64 * 8  # of two heads
    assert cost(run).flops == 2 * product + 5 * product  # the backward computes the scores again


def test_a_view_takes_nothing_and_what_is_freed_counts_no_more():
    x = torch.zeros(1000)

    def run():
        for _ in range(5):
            (x + 1).view(10, 100).T.sum()

    assert cost(run).bytes == 4 * 1000 + 4


def test_a_gradient_takes_what_the_profiler_says():
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
