"""What a block computes again for its backward is what it computed at first."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch


@pytest.fixture
def recomputed(pack):
    with torch.inference_mode(False), torch.enable_grad():
        yield pack("nodes.host.gradient.recomputation").Recomputed


def gradient(function, x):
    return torch.autograd.grad(function(x).sum(), x)[0]


def leaf(*shape):
    return torch.rand(*(shape or (8,)), generator=torch.Generator().manual_seed(1)).requires_grad_()


def test_a_tensor_that_is_changed_after_autograd_has_saved_it(recomputed):
    """Inside of the block: an input of one operation, an output, and one that is in no graph."""

    def block(x, copies=False):
        def before_a_write(tensor):
            return tensor.clone() if copies else tensor

        y, factor = x.exp(), torch.full_like(x, 2.0)
        z = before_a_write(y).sin() * before_a_write(factor)
        y, factor = before_a_write(y), before_a_write(factor)
        y += 1
        factor.zero_()
        w = y.tanh()
        out = w * x
        w = before_a_write(w)
        w.mul_(3)
        return z + out.exp() + w * y

    x, again = leaf(), recomputed(block)
    expected = gradient(lambda x: block(x, copies=True), x)
    for _ in range(2):  # the second time it knows that the block writes
        torch.testing.assert_close(gradient(again, x), expected, rtol=0, atol=0)


def test_random_numbers_are_drawn_again(recomputed):
    def block(x):
        return x.exp() * torch.rand(8) + torch.rand(8) * x.sin()

    x = leaf()
    torch.manual_seed(3)
    expected = gradient(block, x)
    torch.manual_seed(3)
    y = recomputed(block)(x).sum()
    torch.rand(5)
    state = torch.get_rng_state()
    torch.testing.assert_close(torch.autograd.grad(y, x)[0], expected, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_watch_over_operands_is_put_on_again(recomputed, pack):
    """A backward takes the mode off, and an inference tensor cannot be saved without it."""
    operands = pack("nodes.host.gradient.operands")
    with torch.inference_mode():
        token = torch.rand(8)

    def block(x, context):
        return (x * token).exp() * (context * x)

    x = leaf()
    with operands.CloneInferenceOperands():
        assert operands.CloneInferenceOperands.is_on()
        expected = gradient(lambda x: block(x, token), x)
        # an argument that is an inference tensor, too
        result = gradient(lambda x: recomputed(block)(x, context=token), x)
    assert not operands.CloneInferenceOperands.is_on()
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_autocast_is_as_it_was(recomputed):
    layer = torch.nn.Linear(8, 8).requires_grad_(False)

    def block(x):
        return layer(x.sin()).exp().float() * x

    x = leaf(2, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, y = block(x).sum(), recomputed(block)(x).sum()
    (expected,), (result,) = torch.autograd.grad(expected, x), torch.autograd.grad(y, x)
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_a_graph_is_gone_through_twice_and_a_block_within_another_checkpoint(recomputed):
    def block(x):
        return x.exp().sin() * x

    x, again = leaf(), recomputed(block)
    expected = gradient(lambda x: block(block(x)), x)
    y = again(again(x)).sum()
    for retain in (True, False):
        torch.testing.assert_close(torch.autograd.grad(y, x, retain_graph=retain)[0], expected, rtol=0, atol=0)
    outer = torch.utils.checkpoint.checkpoint(lambda x: again(again(x)), x, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(outer.sum(), x)[0], expected, rtol=0, atol=0)


def test_nothing_but_the_arguments_stays_in_memory(recomputed):
    sizes = []

    def block(x):
        return x.exp().sin().exp().sin()

    def watch(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(watch, lambda tensor: tensor):
        x = leaf(100)
        again = recomputed(block)
        torch.autograd.grad(again(again(x)).sum(), x)
    assert sizes == [100, 100]


def test_the_rest_of_a_block_is_not_computed_again(recomputed):
    calls = SimpleNamespace(count=0)

    def block(x):
        y = x.exp()
        calls.count += 1
        z = y + 1
        calls.count += 1
        return z

    x = leaf()
    gradient(recomputed(block), x)
    assert calls.count < 4


def test_a_block_that_acts_differently_is_refused(recomputed):
    calls = []

    def block(x):
        calls.append(x)
        return x.exp().sin() if len(calls) == 1 else x + 1

    with pytest.raises(RuntimeError, match="differently"):
        gradient(recomputed(block), leaf())


def test_an_interrupt_inside_passes(recomputed):
    def block(x):
        if calls:
            raise KeyError("interrupted")
        calls.append(x)
        return x.exp().sin()

    calls = []
    with pytest.raises(KeyError):
        gradient(recomputed(block), leaf())
