"""A user's interrupt ends the run within one model call, and leaves the host as it was."""

import comfy.model_management
import pytest
import torch
from comfy.patcher_extension import WrappersMP


class Calls:
    """Counts forwards and backwards of the model, and presses the button at one of them."""

    def __init__(self, **interrupt_at):
        self.forward = self.backward = 0
        self._interrupt_at = interrupt_at

    def watch(self, model):
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "calls", self._call)
        return model

    def _call(self, executor, *args, **kwargs):
        self._count("forward")
        output = executor(*args, **kwargs)
        if output.requires_grad:
            output.register_hook(lambda gradient: self._count("backward"))
        return output

    def _count(self, kind):
        count = getattr(self, kind) + 1
        setattr(self, kind, count)
        if count == self._interrupt_at.get(kind):
            comfy.model_management.interrupt_current_processing()


@pytest.mark.parametrize("forward", [1, 2, 5, 8])
def test_no_model_call_follows_an_interrupt(job, forward):
    before = job.ksampler()
    calls = Calls(forward=forward)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        job.guide(calls.watch(job.model))
    assert calls.forward == forward
    assert torch.equal(job.ksampler(), before)
    assert next(job.model.model.parameters()).is_inference()
    assert not getattr(comfy.model_management, "in_training", False)


def test_the_backward_of_many_windows_stops_within_one(job):
    calls = Calls(backward=1)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        job.guide(calls.watch(job.model), gradient="full")
    assert (calls.forward, calls.backward) == (3, 1)
    job.ksampler()


def test_an_interrupt_between_iterates_ends_the_run(job):
    calls = Calls()

    def press(iterate, best):
        comfy.model_management.interrupt_current_processing()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        job.guide(calls.watch(job.model), on_iterate=press)
    assert len(job.iterates) == 1
    job.ksampler()
