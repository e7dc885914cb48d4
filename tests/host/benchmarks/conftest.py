"""The embedded world, which runs under autograd and so outside of the inference mode that the host is in."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.benchmarks import benchmark


@pytest.fixture(scope="module")
def world():
    with torch.inference_mode(False):
        return benchmark("world").World()


@pytest.fixture
def outside_inference_mode():
    with torch.inference_mode(False):
        yield
