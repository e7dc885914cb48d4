"""The method as a SAMPLER of the host: any guider, noise and sigmas."""

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy_extras import nodes_custom_sampler as custom
from comfy_extras.nodes_perpneg import PerpNegGuider

from tests.helpers.finite_differences import slopes
from tests.helpers.guiders import basic, cfg, draw, dual, euler, sigmas


@pytest.mark.parametrize("guider", [basic, cfg])
@pytest.mark.parametrize(("model", "family"), [("job", "auto"), ("unet", "consistency"), ("unet", "diffusion")])
def test_it_draws_what_the_anchored_rectified_sampler_draws(request, guider, model, family):
    job = request.getfixturevalue(model)
    guided = draw(job, guider(job), job.sampler(views=2, family=family), sigmas(job))
    expected, _ = job.guide(cfg=3.0 if guider is cfg else 1.0, views=2, family=family)
    assert torch.equal(guided, expected)
    assert not torch.equal(guided, draw(job, guider(job), euler(), sigmas(job)))


@pytest.mark.parametrize("scheduler", ["simple", "beta"])
@pytest.mark.parametrize("guider", [basic, cfg])
def test_without_iterations_it_is_euler(job, guider, scheduler):
    steps = sigmas(job, scheduler=scheduler, denoise=0.6)
    job.latent = {"samples": torch.randn(2, 16, 8, 8), "batch_index": [4, 1]}
    drawn = draw(job, guider(job), job.sampler(iterations=0), steps)
    assert torch.equal(drawn, draw(job, guider(job), euler(), steps))


def test_without_iterations_inpainting_is_eulers(job):
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    job.latent = {"samples": torch.randn(1, 16, 8, 8), "noise_mask": mask}
    drawn = draw(job, cfg(job), job.sampler(iterations=0), sigmas(job))
    assert torch.equal(drawn, draw(job, cfg(job), euler(), sigmas(job)))


def test_sampler_custom_runs_it_too(job):
    output = custom.SamplerCustom.execute(
        job.model, True, 5, 3.0, job.positive, job.negative, job.sampler(), sigmas(job), job.latent
    )
    assert torch.equal(output.result[0]["samples"], job.guide(cfg=3.0)[0])


@pytest.mark.parametrize(
    ("guider", "equal"),
    [
        (lambda job: dual(job, 3.0, 1.0), lambda job: cfg(job, 3.0)),
        (lambda job: dual(job, 1.0, 2.5), None),
        (lambda job: dual(job, 2.0, 2.5, "nested"), None),
        (
            lambda job: PerpNegGuider.execute(job.model, job.positive, job.negative, job.negative, 3.0, 1.0).result[0],
            None,
        ),
    ],
    ids=["dual_as_cfg", "dual", "nested", "perp_neg"],
)
def test_the_gradient_of_other_guiders_is_that_of_finite_differences(job, brightness, look_inside, guider, equal):
    """By finite differences along it, to 0.5 % in float32; and by the plain guider of the same picture."""
    probe, measured = slopes()
    look_inside(probe)
    for make in filter(None, (guider, equal)):
        draw(job, make(job), job.sampler(energy=brightness), sigmas(job))
    for gradient, slope in measured:
        assert slope == pytest.approx(gradient.norm().item(), rel=5e-3)
    if equal:
        torch.testing.assert_close(measured[0][0], measured[1][0], rtol=1e-4, atol=1e-6)


def test_it_continues_from_the_sigmas_where_the_host_stopped(job):
    """Guided, it comes nearer; unguided, it is what the host would have made of it."""
    high, low = custom.SplitSigmas.execute(sigmas(job, steps=4), 2).result
    whole = draw(job, cfg(job), euler(), sigmas(job, steps=4))
    job.latent = {"samples": draw(job, cfg(job), euler(), high)}
    nothing = custom.DisableNoise.execute().result[0]
    unguided = draw(job, cfg(job), job.sampler(iterations=0), low, nothing)
    assert torch.equal(unguided, draw(job, cfg(job), euler(), low, nothing))
    torch.testing.assert_close(unguided, whole, atol=1e-4, rtol=0)
    draw(job, cfg(job), job.sampler(iterations=4), low, nothing)
    assert job.facts["steps"] == 2
    assert job.iterates[-1].similarity > job.iterates[0].similarity


def test_the_hosts_simple_scheduler_has_the_times_of_perflow(run, unet):
    unet.model = run("ModelSamplingPeRFlow", model=unet.model).result[0]
    published = unet.model.get_model_object("model_sampling").step_sigmas(4, 1.0)
    assert torch.equal(sigmas(unet, 4), published)
    guided = draw(unet, basic(unet), unet.sampler(), sigmas(unet, 4))
    assert unet.facts["family"] == "perflow"
    assert torch.equal(guided, unet.guide(steps=4)[0])


def test_a_run_leaves_models_and_options_as_they_were(job):
    networks = (job.model.model, job.vae.patcher.model, job.discriminator.network)
    before = [tensor for network in networks for tensor in network.state_dict(keep_vars=True).values()]
    guider, steps, options = cfg(job), sigmas(job), repr(job.model.model_options)
    expected = draw(job, guider, euler(), steps)
    sampler = job.sampler()
    guided = draw(job, guider, sampler, steps)
    assert torch.equal(draw(job, guider, euler(), steps), expected)
    assert torch.equal(draw(job, guider, sampler, steps), guided), "a sampler may be used again"
    after = [tensor for network in networks for tensor in network.state_dict(keep_vars=True).values()]
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert repr(job.model.model_options) == repr(guider.model_options) == options


def test_an_interrupt_ends_it_and_leaves_the_model_as_it_was(job):
    guider, steps = cfg(job), sigmas(job)
    expected = draw(job, guider, euler(), steps)

    def press(iterate, best):
        comfy.model_management.interrupt_current_processing()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        draw(job, guider, job.sampler(on_iterate=press), steps)
    assert len(job.iterates) == 1
    assert torch.equal(draw(job, guider, euler(), steps), expected)
    assert next(job.model.model.parameters()).is_inference()


class Paged(ModelPatcher):
    """What newer hosts make on NVIDIA cards, as far as it can be here: its twin is another network."""

    def __init__(self, patcher, twin):
        super().__init__(patcher.model, patcher.load_device, patcher.offload_device)
        self.cached_patcher_init, self.twin = (twin.clone, ()), twin

    def is_dynamic(self):
        return True

    def get_non_dynamic_delegate(self):
        return self.twin


def test_weights_under_dynamic_vram_are_run_by_their_twin(job, pack, parts):
    expected = draw(job, cfg(job), job.sampler(), sigmas(job))
    paged = job.model = Paged(job.model, pack("nodes.host.networks.demo").flow_from_state(parts.flow_state))
    watched = []
    paged.model.diffusion_model.register_forward_pre_hook(lambda *_: watched.append("paged"))
    guider = cfg(job)
    assert torch.equal(draw(job, guider, job.sampler(), sigmas(job)), expected)
    assert not watched and guider.model_patcher is paged
    draw(job, guider, euler(), sigmas(job))
    assert watched, "the host itself goes on with its own"


def test_a_lazy_cache_is_bypassed(job):
    from comfy_extras.nodes_easycache import LazyCacheNode

    plain = draw(job, basic(job), job.sampler(), sigmas(job))
    job.model = LazyCacheNode.execute(job.model, 10.0, 0.0, 1.0, False).result[0]
    torch.testing.assert_close(draw(job, basic(job), job.sampler(), sigmas(job)), plain)


@pytest.fixture
def node(run, job, with_settings):
    """`node(**changes)`: the SAMPLER of the node, on the small job."""

    def sampler(**changes):
        inputs = {"vae": job.vae, "guidance": job.identity, "iterations": 2, "guidance_scale": 5.0, **changes}
        return run("AnchoredSampler", **with_settings(inputs)).result[0]

    return sampler


def test_the_node_draws_what_the_other_node_draws(node, sample, job):
    guided = draw(job, basic(job), node(views=1), sigmas(job))
    assert torch.equal(guided, sample().result[0]["samples"])


def test_both_nodes_have_the_same_widgets(nodes):
    mine, other = (
        {each.id: each.as_dict() for each in nodes[name].GET_SCHEMA().inputs}
        for name in ("AnchoredSampler", "AnchoredRectifiedSampler")
    )
    assert mine == {name: other[name] for name in mine}
    assert list(other)[3 - len(mine) :] == list(mine)[3:]


class TestRefusals:
    """What cannot be guided is refused, by name."""

    def test_no_vae(self, node):
        with pytest.raises(ValueError, match="VAE"):
            node(vae=None)

    def test_a_vae_of_another_model(self, node, job):
        import comfy.sd

        sampler = node(vae=comfy.sd.VAE(sd={"pixel_space_vae": torch.ones(())}))
        with pytest.raises(ValueError, match="3 channels.*16"):
            draw(job, basic(job), sampler, sigmas(job))

    def test_a_discriminator_that_is_not_loaded(self, node, job, pack):
        from dataclasses import replace

        bare = replace(job.identity, discriminator=job.discriminator._discriminator)
        with pytest.raises(ValueError, match="recogniser.*not loaded"):
            node(guidance=bare)

    def test_sigmas_that_end_early(self, node, job):
        high, _ = custom.SplitSigmas.execute(sigmas(job), 2).result
        with pytest.raises(ValueError, match="low_sigmas"):
            draw(job, basic(job), node(), high)

    def test_a_video(self, node, job):
        job.latent = {"samples": torch.ones(1, 16, 5, 8, 8)}
        with pytest.raises(ValueError, match="one frame"):
            draw(job, basic(job), node(), sigmas(job))

    def test_hooks_that_would_exchange_weights(self, node, job):
        from comfy.hooks import create_hook_lora

        hooks = create_hook_lora(lora=None, strength_model=1.0, strength_clip=0.0)
        hooks.hooks[0].weights, hooks.hooks[0].need_weight_init = {}, False
        name = next(name for name in job.model.model.state_dict() if name.endswith("attn.qkv.weight"))
        hooks.hooks[0].weights = {name: ("diff", (torch.zeros_like(job.model.model.state_dict()[name]),))}
        job.positive = [[context, {**options, "hooks": hooks}] for context, options in job.positive]
        draw(job, basic(job), node(), sigmas(job))  # one prompt, one set of weights
        for guider in (cfg(job), dual(job)):
            with pytest.raises(ValueError, match="hook"):
                draw(job, guider, node(), sigmas(job))
