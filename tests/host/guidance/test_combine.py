"""Combined guidance, as a graph does it, on the small job."""

import pytest
import torch

import nodes as host_nodes
from tests.helpers.guidance_inputs import half, terms_of


class TestCombine:
    def test_each_optional_socket_takes_an_identity_or_guidance(self, nodes):
        sockets = nodes["CombineGuidance"].INPUT_TYPES()["optional"]
        for number in (1, 2, 3, 4):
            assert sockets[f"guidance_{number}"][0] == "RECTIFID_GUIDANCE"

    def test_one_guidance_is_as_without_the_node(self, run, sample, job):
        (guidance,) = run("CombineGuidance", guidance_1=job.identity).result
        plain, combined = (sample(guidance=each) for each in (job.identity, guidance))
        torch.testing.assert_close(combined.result[0]["samples"], plain.result[0]["samples"])
        assert combined.result[2].similarity == plain.result[2].similarity

    def test_one_left_and_one_right(self, run, sample, job, other):
        parts = [
            run("IdentityGuidance", identity=identity, mask=half(side)).result[0]
            for identity, side in ((job.identity, "left"), (other, "right"))
        ]
        (guidance,) = run("CombineGuidance", guidance_1=parts[0], guidance_2=parts[1]).result
        report = sample(guidance=guidance, iterations=5).result[2]
        terms = terms_of(report)
        assert list(terms) == ["guidance_1", "guidance_2"]
        for part in terms.values():
            assert part["similarity"][-1] > part["similarity"][0]
        mean = [(a[0] + b[0]) / 2 for a, b in zip(*(part["similarity"] for part in terms.values()), strict=True)]
        assert [row[0] for row in report.similarity] == pytest.approx(mean)
        assert list(report.settings["discriminators"]) == ["recogniser"]
        assert "guidance_2: similarity" in report.text()

    def test_each_of_a_batch_for_itself(self, run, sample, job, other):
        (guidance,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=other).result
        single = sample(guidance=guidance).result[0]["samples"]
        job.latent = {"samples": torch.zeros(2, 16, 8, 8)}
        both = sample(guidance=guidance).result[0]["samples"]
        torch.testing.assert_close(both[:1], single, rtol=1e-3, atol=1e-3)
        assert not torch.allclose(both[0], both[1])

    def test_beside_colors(self, run, sample, job, colors):
        (guidance,) = run("CombineGuidance", guidance_1=colors, weight_1=0.5, guidance_4=job.identity).result
        report = sample(guidance=guidance, iterations=6, guidance_scale=1.0, views=0).result[2]
        terms = terms_of(report)
        assert list(terms) == ["guidance_1", "guidance_4"]
        assert all(part["energy"][-1] < part["energy"][0] for part in terms.values())
        assert report.similarity == [*map(list, terms["guidance_4"]["similarity"])], "the identity decides"
        expected = 0.5 * terms["guidance_1"]["energy"][0][0] + terms["guidance_4"]["energy"][0][0]
        assert report.energy[0][0] == pytest.approx(expected)

    def test_a_weight_of_nothing_leaves_it_out(self, run, sample, job, colors):
        (single,) = run("CombineGuidance", guidance_1=job.identity).result
        (without,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=colors, weight_2=0.0).result
        assert sample(guidance=without).result[2].energy == sample(guidance=single).result[2].energy

    def test_one_node_after_another(self, run, sample, job, other, colors):
        (inner,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=other, weight_2=0.5).result
        (outer,) = run("CombineGuidance", guidance_1=inner, weight_1=2.0, guidance_2=colors).result
        (flat,) = run(
            "CombineGuidance", guidance_1=job.identity, weight_1=2.0, guidance_2=other, guidance_3=colors
        ).result
        nested, plain = (sample(guidance=each).result for each in (outer, flat))
        assert list(terms_of(nested[2])) == ["guidance_1/guidance_1", "guidance_1/guidance_2", "guidance_2"]
        torch.testing.assert_close(nested[0]["samples"], plain[0]["samples"])

    def test_without_iterations_it_is_ksampler(self, run, sample, job, other):
        (guidance,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=other).result
        assert torch.equal(sample(guidance=guidance, iterations=0).result[0]["samples"], job.ksampler())


def test_the_latent_goes_on_in_the_host(run, sample, job, other):
    (guidance,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=other).result
    latent = sample(guidance=guidance).result[0]
    assert host_nodes.VAEDecode().decode(job.vae, latent)[0].shape == (1, 64, 64, 3)
