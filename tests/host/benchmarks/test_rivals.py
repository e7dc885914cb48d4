"""The arithmetic of benchmarks/rivals: what each method adds to the flow, and what it leaves as it is."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.helpers.benchmarks import benchmark
from tests.helpers.places import needs_weights

pytestmark = [needs_weights, pytest.mark.usefixtures("outside_inference_mode")]


@pytest.fixture
def flow(world):
    return world.flow(["a smiling person in a red hat, green background"] * 3)


def rival(name):
    return benchmark(f"rivals.{name}")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.manual_seed(seed))


@torch.no_grad()
def test_an_adapter_that_has_learned_nothing_leaves_the_flow_as_it_is(world, flow):
    adapter, z, sigma = rival("ip_adapter").Adapter(), noise(3, 16, 16, 16), torch.tensor(0.7)
    adapted, words = rival("ip_adapter").adapted, (flow.context, flow.pooled)
    tokens = adapter(noise(3, 16, 16, 16, seed=1))
    plain = flow.velocity(z, sigma)
    assert torch.allclose(adapted(flow.flow, z, sigma.expand(3), words, [(tokens, None)]), plain, atol=1e-5)
    for value in adapter.values:
        value.weight.normal_(std=0.3)
    tokens = adapter(noise(3, 16, 16, 16, seed=1))
    assert (adapted(flow.flow, z, sigma.expand(3), words, [(tokens, None)]) - plain).abs().mean() > 0.01
    nowhere = torch.zeros(64, 1)
    assert torch.allclose(adapted(flow.flow, z, sigma.expand(3), words, [(tokens, nowhere)]), plain, atol=1e-5)


@torch.no_grad()
def test_words_are_heard_in_their_own_half_only(world):
    couples = benchmark("world").Couples.draw(1, "tuning")
    left, right = (place.view(8, 16) for place in rival("fastcomposer").halves(couples.noise))
    assert left[:, :8].min() == 1 and left[:, 8:].max() == 0 and torch.equal(right, 1 - left)
    laid_out = rival("cones2").LaidOutFlow
    flows = [
        laid_out(world, couples, torch.stack([noise(1, 4, 192), n], 1))
        for n in (noise(1, 4, 192, seed=1), 0 * noise(1, 4, 192))
    ]
    known = flows[0].context.shape[1] - 8
    assert (flows[0].bias[known + 8 :, known : known + 4].view(8, 16, 4)[:, 8:] == -torch.inf).all()
    assert (flows[0].bias[known + 8 :, known + 4 :].view(8, 16, -1)[:, 8:, :4] == 0).all()


@torch.no_grad()
def test_lora_begins_at_the_flow_and_has_its_rank(world):
    lora = rival("dreambooth_lora").DreamBoothLora(rank=2)
    start = lora.start(world)
    for name, matrix in lora.weights(world, start).items():
        assert torch.equal(matrix, world.model.flow.get_parameter(name))
    moved = lora.weights(world, {name: value + 0.1 for name, value in start.items()})
    for name, matrix in moved.items():
        change = matrix - world.model.flow.get_parameter(name)
        assert 1 <= torch.linalg.matrix_rank(change, rtol=1e-3) <= 2
    assert lora.parameters(world) < rival("dreambooth").DreamBooth().parameters(world) / 20


def test_a_new_word_is_learned(world):
    words, basis = rival("words"), rival("basis")
    triples = benchmark("world").Triples.draw(2, "tuning")
    latents, said = basis.encode(world, triples.references), basis.read(world, triples.prompts)
    start = words.class_word(world, 2, 1)

    @torch.no_grad()
    def error(codes):
        torch.manual_seed(3)
        sigma = basis.levels(64)
        z, target = basis.mix(latents.repeat_interleave(32, 0), sigma)
        context, pooled = words.new_word(said.repeat_interleave(32, 0), codes.repeat_interleave(32, 0))
        return (world.model.flow(z, 1000 * sigma, y=pooled, context=context) - target).square().mean().item()

    torch.manual_seed(0)
    learned = words.learn_codes(world, latents, said, start, words.new_word, 20, 0.03)
    assert learned.shape == (2, 2, 192) and error(learned) < error(start)


def test_people_are_learned_apart(world):
    """The gradient of one code does not depend on the other people of its batch, nor on how many there are."""
    words, basis = rival("words"), rival("basis")
    latents, said = noise(2, 16, 16, 16), basis.read(world, ["a person"] * 2)
    start = words.class_word(world, 2, 1)

    def first(other):
        torch.manual_seed(5)
        both = torch.stack([latents[0], other])
        return words.learn_codes(world, both, said, start, words.new_word, 1, 0.01)[0]

    assert torch.allclose(first(latents[1]), first(latents[1] * 3), atol=1e-6)


def test_a_basis_spans_what_it_is_made_of():
    codes = noise(12, 40) @ torch.diag(torch.linspace(0, 2, 40))
    found = rival("celeb_basis").basis_of(codes, 12)
    coefficients = (codes - found["mean"]) @ torch.linalg.pinv(found["basis"][:11])
    assert torch.allclose(coefficients @ found["basis"][:11], codes - found["mean"], atol=1e-3)
    assert torch.allclose(coefficients.square().mean(0), torch.ones(11), atol=1e-3)


def test_what_is_noised_again_is_like_what_was_noised_at_once():
    low, high = torch.tensor(0.5), torch.tensor(0.75)
    clean, sizes = torch.full((1, 100_000), 2.0), (1, 100_000)
    state = (1 - low) * clean + low * noise(*sizes)
    again = rival("universal_guidance").renoised(state, low, high, noise(*sizes, seed=1))
    assert again.mean().item() == pytest.approx(0.5, abs=0.02) and again.std().item() == pytest.approx(0.75, abs=0.02)


def test_regularisers_of_noise():
    unlike, density = rival("dno").unlike_noise, rival("reno").log_density_of_length
    z = noise(1, 16, 16, 16)
    assert 0.7 < unlike(z).item() < 1.3 < 2 < unlike(1.5 * z).item()
    assert unlike(noise(1, 16, 1, 1).expand(1, 16, 16, 16)) > 3
    lengths = torch.tensor([0.9, 1.0, 1.1])
    densities = [density(z / z.norm() * s * (z.numel() - 1) ** 0.5).item() for s in lengths]
    assert densities[1] == max(densities)


def test_noise_levels_are_of_all_windows_half_of_them_at_the_start():
    boundaries = benchmark("world").shift(torch.linspace(1, 0, 5))
    torch.manual_seed(0)
    sigma = rival("basis").levels(4000)
    for k in range(4):
        inside = sigma[k::4]
        assert inside.max() == boundaries[k] and inside.min() > boundaries[k + 1] - 1e-6
        assert 0.4 < (inside == boundaries[k]).float().mean() < 0.6


def test_a_quick_look_changes_the_sizes_and_nothing_else():
    shortened = rival("table").shortened
    for kind in (rival("rectifid").OursOnAdapter(), rival("celeb_basis").CelebBasis(), rival("ip_adapter").IPAdapter()):
        short = shortened(kind)
        changed = {f.name for f in dataclasses.fields(kind) if getattr(short, f.name) != getattr(kind, f.name)}
        assert changed and changed <= {"minutes", "people", "drawn", "iterations", "adapter"}


@torch.no_grad()
def test_a_consistency_model_ends_with_the_clean_latent_it_foresees(world):
    few = benchmark("few_steps")
    flow = few.ConsistencyFlow(world, world.model.flow, ["a person"], 2)
    z = noise(1, 16, 16, 16)
    after, clean = flow.predict(1, z)
    assert torch.equal(after, clean) and torch.equal(after, flow.step(1, z))
    first, foreseen = flow.predict(0, z)
    sigma = flow.sigmas[1]
    assert torch.allclose((first - (1 - sigma) * foreseen) / sigma, flow.noise[0][None], atol=1e-4)


def test_the_background_is_found_by_its_color(world):
    universal = benchmark("universal")
    wishes = universal.Wishes.draw(benchmark("world").Triples.draw(4, "tuning"))
    own = [universal.overlap(*pair) for pair in zip(wishes.layouts, wishes.masks, strict=True)]
    others = [universal.overlap(*pair) for pair in zip(wishes.layouts, wishes.masks.flip(0), strict=True)]
    assert min(own) > 0.7 and sum(own) > sum(others) + 0.5
