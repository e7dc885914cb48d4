"""How much a gradient keeps: what is free decides, and where that was wrong, the run goes on with less."""

from __future__ import annotations

import itertools
import logging
from types import SimpleNamespace

import comfy.model_management
import pytest
import torch
from comfy.patcher_extension import WrappersMP

STEPS = 3


@pytest.fixture
def memory(pack):
    return pack("nodes.host.gradient.memory")


@pytest.fixture
def needs(memory, job):
    guider = SimpleNamespace(model_patcher=job.model, conds={})
    return memory.Needs(guider, job.vae, torch.Size([1, 16, 8, 8]))


@pytest.fixture
def free(monkeypatch):
    """`free(bytes)`: so much memory seems to be free."""

    def seem(count):
        def get_free_memory(device=None, torch_free_too=False):
            return (count, count) if torch_free_too else count

        monkeypatch.setattr(comfy.model_management, "get_free_memory", get_free_memory)

    return seem


def test_how_many_graphs_are_held_grows_with_what_is_free(memory, needs, free):
    plans = memory.plans_of("auto", STEPS)
    plain = ["full", "2 of 3 steps kept", "1 of 3 steps kept", "windowed"]
    names = [*plain, *(f"{name}, checkpointed" for name in plain[:3]), "checkpointed"]
    assert [plan.name for plan in plans] == names
    sizes = [needs.of(plan) for plan in plans]
    assert needs.of(memory.UNGUIDED) < sizes[-1] * 2
    for group in (sizes[:4], sizes[4:]):
        assert group == sorted(group, reverse=True)
    for i, size in enumerate(sizes):
        free(1.001 * size / memory._SHARE)
        fitting = needs.fitting(plans, torch.device("cpu"))
        assert fitting is next(each for each, needed in zip(plans, sizes, strict=True) if needed <= size)
        assert plans.index(fitting) <= i
    free(0)
    assert needs.fitting(plans, torch.device("cpu")).name == "checkpointed"


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_each_way_gives_the_same_picture(job, memory, cfg, monkeypatch):
    expected, _ = job.guide(gradient="windowed", cfg=cfg)
    for plan in memory.plans_of("auto", STEPS):
        monkeypatch.setattr(memory.Needs, "fitting", lambda self, plans, device, plan=plan: plan)
        latent, _ = job.guide(gradient="auto", cfg=cfg)
        assert job.facts["gradient"] == plan.name
        torch.testing.assert_close(latent, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("gradient", ["windowed", "full", "checkpointed"])
def test_what_was_asked_for_is_what_is_done(job, free, gradient):
    free(0)
    job.guide(gradient=gradient, iterations=1, steps=2)
    assert job.facts["gradient"] == gradient


@pytest.mark.parametrize("changes", [{"gradient": "straight"}, {"rule": "single_pass"}])
def test_without_graphs_of_steps_the_decoder_may_be_checkpointed(job, free, changes):
    latents = []
    for bytes_, name in ((2**60, "straight"), (0, "straight, checkpointed")):
        free(bytes_)
        latents.append(job.guide(**changes)[0])
        assert job.facts["gradient"] == name
    torch.testing.assert_close(*latents, atol=1e-4, rtol=0)
    assert not torch.allclose(latents[0], job.ksampler(), atol=1e-3)


@pytest.mark.parametrize(("bytes_", "name"), [(2**60, "full"), (0, "checkpointed")])
def test_every_plan_draws_the_same_picture(job, free, bytes_, name):
    windowed, _ = job.guide(gradient="windowed", cfg=3.0)
    free(bytes_)
    latent, _ = job.guide(gradient="auto", cfg=3.0)
    assert job.facts["gradient"] == name
    torch.testing.assert_close(latent, windowed, atol=1e-4, rtol=0)


def test_the_host_is_told_how_much_to_keep_free(job, memory, needs, monkeypatch):
    """Other models make place for the fastest gradient; those that it needs itself do so for the smallest only."""
    asked, load = [], comfy.model_management.load_models_gpu

    def watched(models, memory_required=0, minimum_memory_required=None, **options):
        asked.append((memory_required, minimum_memory_required))
        return load(models, memory_required=memory_required, minimum_memory_required=minimum_memory_required, **options)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", watched)
    job.guide(gradient="auto")
    job.guide(gradient="windowed")
    job.guide(iterations=0)
    plans = memory.plans_of("auto", STEPS)
    least = needs.of(memory.WINDOWED)
    expected = [(needs.of(plans[0]), needs.of(plans[-1])), (least, least), (needs.of(memory.UNGUIDED),) * 2]
    assert asked[1::2] == expected, "the guider's own calls are between them"


class Full:
    """A MODEL that runs out of memory in some of its forwards for a gradient."""

    def __init__(self, *when):
        self.when, self.calls = when, 0

    def put_into(self, model):
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "full", self._call)
        return model

    def _call(self, executor, *args, **kwargs):
        if torch.is_grad_enabled():
            self.calls += 1
            if not self.when or self.calls in self.when:
                raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return executor(*args, **kwargs)


def test_the_exception_is_what_a_card_raises():
    assert comfy.model_management.OOM_EXCEPTION is torch.OutOfMemoryError


@pytest.mark.parametrize(
    ("gradient", "calls", "names"),
    [
        ("full", (2,), ["full", "windowed"]),
        ("windowed", (5,), ["windowed", "checkpointed"]),  # in the second iteration
        ("full", (1, 2), ["full", "windowed", "checkpointed"]),
    ],
)
def test_where_memory_runs_out_the_run_goes_on_with_less(job, caplog, gradient, calls, names):
    expected, _ = job.guide(gradient=gradient, rule="fixed_point")
    before = job.ksampler()
    with caplog.at_level(logging.WARNING):
        latent, _ = job.guide(Full(*calls).put_into(job.model), gradient=gradient, rule="fixed_point")
    torch.testing.assert_close(latent, expected, atol=1e-4, rtol=0)
    assert [iterate.number for iterate in job.iterates] == [0, 1, 2]
    said = [record.message for record in caplog.records if "out of memory" in record.message]
    assert said == [
        f"RectifID: out of memory with gradient '{failed}'; trying again with '{smaller}', which takes longer."
        for failed, smaller in itertools.pairwise(names)
    ]
    assert torch.equal(job.ksampler(), before)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: 9 GB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried 9 GB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB). Tried to allocate 8 GB on private pool."),
        RuntimeError("Could not allocate tensor with 9 bytes. There is not enough GPU video memory available!"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
    ids=lambda error: str(error)[-30:],
)
def test_memory_that_runs_out_elsewhere_than_on_a_card(job, brightness, error, caplog):
    """The same fall to less memory, and at its end the one error of all of them."""
    calls = []

    def energy(image, iteration):
        if torch.is_grad_enabled():
            calls.append(iteration)
            if len(calls) in failing:
                raise error
        return brightness(image, iteration)

    failing = [1]
    job.guide(energy=energy, gradient="windowed", iterations=1, steps=2)
    assert "trying again with 'checkpointed'" in caplog.text
    failing = range(100)
    with pytest.raises(torch.OutOfMemoryError, match="too little memory") as raised:
        job.guide(energy=energy, gradient="windowed", iterations=1, steps=2)
    assert raised.value.__context__ is None


@pytest.mark.parametrize("iterations", [0, 1])
@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_memory_that_runs_out_where_no_gradient_is_asked_for(job, brightness, error, iterations):
    """At the last look of a run, or the only one; on a processor, too."""

    def energy(image, iteration):
        if torch.is_grad_enabled():
            return brightness(image, iteration)
        raise error

    with pytest.raises(torch.OutOfMemoryError, match="too little memory") as raised:
        job.guide(energy=energy, iterations=iterations)
    assert raised.value.__context__ is None


def test_memory_that_really_runs_out_on_the_cpu(pack):
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert pack("nodes.host.gradient.failures").is_out_of_memory(raised.value)


def test_another_error_passes(job, brightness):
    def energy(image, iteration):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        job.guide(energy=energy, gradient="windowed")


def test_a_single_pass_goes_on_too(job, brightness, caplog):
    expected, _ = job.guide(energy=brightness, rule="single_pass", iterations=6)
    before, calls = job.ksampler(), []

    def energy(image, iteration):
        if torch.is_grad_enabled():
            calls.append(iteration)
            if len(calls) == 3:
                raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return brightness(image, iteration)

    latent, _ = job.guide(energy=energy, rule="single_pass", iterations=6)
    torch.testing.assert_close(latent, expected, atol=1e-4, rtol=0)
    assert calls == [0, 1, 2, 2, 3, 4, 5]
    assert "'straight'; trying again with 'straight, checkpointed'" in caplog.text
    assert torch.equal(job.ksampler(), before)


@pytest.mark.parametrize("gradient", ["auto", "straight"])
def test_where_nothing_is_enough_it_says_what_to_lower(job, brightness, gradient):
    before, held = job.ksampler(), next(job.model.model.parameters())

    def energy(image, iteration):
        if torch.is_grad_enabled():
            raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return brightness(image, iteration)

    with pytest.raises(torch.OutOfMemoryError, match="fewer views") as raised:
        job.guide(energy=energy, gradient=gradient)
    assert raised.value.__context__ is None, "it would hold on to the failed graph"
    assert torch.equal(job.ksampler(), before)
    assert next(job.model.model.parameters()) is held and held.is_inference()
    assert not any("forward" in vars(module) for module in job.model.model.modules())
    job.guide(gradient=gradient)
    assert job.iterates[-1].similarity > job.iterates[0].similarity
