"""Combined guidance, as a graph does it, on the small job; and the message of each combination that cannot be."""

import json
from types import SimpleNamespace

import comfy.model_management
import folder_paths
import onnx
import pytest
import torch

import nodes as host_nodes


def pictures(seed=0, batch=1, size=40):
    return torch.rand(batch, size, size, 3, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def other(run, job):
    """A second identity of the same discriminator."""
    return run("EncodeReferenceIdentity", discriminator=job.discriminator, images=pictures(seed=4)).result[0]


@pytest.fixture
def colors(run):
    return run("ColorGuidance", image=pictures(seed=8)).result[0]


def half(side, size=64):
    mask = torch.zeros(1, size, size)
    mask[..., slice(0, size // 2) if side == "left" else slice(size // 2, None)] = 1
    return mask


def terms_of(report):
    return json.loads(report.to_json())["terms"]


class TestCombine:
    def test_each_optional_socket_takes_an_identity_or_guidance(self, nodes):
        inputs = nodes["CombineGuidance"].INPUT_TYPES()
        assert [name for name in inputs["required"] if name.startswith("guidance")] == ["guidance_1"]
        sockets = {**inputs["required"], **inputs["optional"]}
        for number in (1, 2, 3, 4):
            assert sockets[f"guidance_{number}"][0] == "RECTIFID_IDENTITY,RECTIFID_GUIDANCE"

    def test_one_alone_is_as_without_the_node(self, run, sample, job):
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
        alone = sample(guidance=guidance).result[0]["samples"]
        job.latent = {"samples": torch.zeros(2, 16, 8, 8)}
        both = sample(guidance=guidance).result[0]["samples"]
        torch.testing.assert_close(both[:1], alone, rtol=1e-3, atol=1e-3)
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
        (alone,) = run("CombineGuidance", guidance_1=job.identity).result
        (without,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=colors, weight_2=0.0).result
        assert sample(guidance=without).result[2].energy == sample(guidance=alone).result[2].energy

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


class TestMask:
    def test_only_what_it_covers_is_looked_at(self, run, job, sample):
        (left,) = run("IdentityGuidance", identity=job.identity, mask=half("left", 32)).result
        energy = left.energy(views=0)
        with torch.inference_mode(False):
            image = pictures(size=64).movedim(-1, 1).clone().requires_grad_()
            (slope,) = torch.autograd.grad(energy(image, 0).energy.sum(), image)
        assert slope[..., :32].any() and not slope[..., 32:].any()
        whole, part = (sample(guidance=each).result[0]["samples"] for each in (job.identity, left))
        assert not torch.equal(whole, part)

    def test_a_mask_from_the_hosts_nodes(self, run, sample, job):
        from comfy_extras.nodes_mask import SolidMask

        node = SolidMask()
        solid = getattr(node, "solid", None) or node.execute
        mask = solid(1.0, 128, 128)[0]
        (everywhere,) = run("IdentityGuidance", identity=job.identity, mask=mask).result
        latents = [sample(guidance=each).result[0]["samples"] for each in (job.identity, everywhere)]
        torch.testing.assert_close(*latents)

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (torch.zeros(1, 64, 64), "the mask is empty: paint over where the identity shall be, or disconnect"),
            (torch.ones(3, 64, 64), "there are 3 masks: connect one"),
        ],
    )
    def test_masks_that_cannot_be_meant(self, run, job, mask, message):
        with pytest.raises(ValueError, match=message):
            run("IdentityGuidance", identity=job.identity, mask=mask)

    def test_a_mask_of_another_shape(self, run, sample, job):
        (guidance,) = run("IdentityGuidance", identity=job.identity, mask=torch.ones(1, 64, 96)).result
        for each in (guidance, run("CombineGuidance", guidance_1=guidance).result[0]):
            with pytest.raises(ValueError, match="mask has 96 x 64 pixels and the picture 64 x 64: they must have"):
                sample(guidance=each)


class TestLimit:
    @pytest.fixture
    def limit(self, run):
        return lambda guidance, **limits: run("LimitGuidance", guidance=guidance, **limits).result[0]

    @pytest.fixture
    def offsets(self, look_inside):
        """Of the run that follows: d_0 ... d_(K-2) of each iterate, where the next window starts."""
        seen, end = [], {}

        def probe(flow, decode, energy, z0):
            step = flow.step

            def watched(k, z):
                if k > 0:
                    seen.append(z.detach() - end["z"])
                end["z"] = (out := step(k, z)).detach()
                return out

            flow.step = watched

        look_inside(probe)
        return seen

    def test_without_limits_it_changes_no_bit(self, sample, job, limit):
        plain, limited = (sample(guidance=each).result for each in (job.identity, limit(job.identity)))
        assert torch.equal(plain[0]["samples"], limited[0]["samples"])
        assert plain[2].similarity == limited[2].similarity

    def test_it_acts_from_one_iteration_to_another(self, sample, job, limit, colors, run):
        def energies(guidance):
            (guidance,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=guidance).result
            report = sample(guidance=guidance, iterations=5).result[2]
            terms = terms_of(report)
            both = [terms["guidance_1"]["energy"][i][0] + terms["guidance_2"]["energy"][i][0] for i in range(6)]
            alone = [row[0] for row in terms["guidance_1"]["energy"]]
            return [row[0] for row in report.energy], alone, both

        total, alone, both = energies(limit(colors, start_iteration=2, end_iteration=4))
        assert total == pytest.approx([*alone[:2], *both[2:4], *alone[4:]])
        _, plain, _ = energies(limit(colors, start_iteration=5))
        assert alone[:3] == pytest.approx(plain[:3]) and alone[3] != plain[3]

    @pytest.mark.parametrize("rule", ["accumulated", "fixed_point"])
    def test_every_offset_is_zero_outside_the_mask(self, sample, job, limit, offsets, rule):
        guidance = limit(job.identity, mask=half("left"))
        image = sample(guidance=guidance, iterations=3, gradient="full", update_rule=rule).result[1]
        seen = torch.stack(offsets)
        assert not seen[..., 4:].any() and seen[..., :4].flatten(1).any(dim=1).tolist() == [False] * 2 + [True] * 6
        unguided = sample(guidance=guidance, iterations=0).result[1]
        assert (image != unguided)[:, :, 32:].any(), "the model answers to it: no promise for the picture itself"

    @pytest.mark.parametrize("rule", ["accumulated", "fixed_point"])
    def test_the_last_step_alone_leaves_the_rest_of_the_latent_bit_for_bit(self, sample, job, limit, rule):
        guidance = limit(job.identity, mask=half("left", 128), start_percent=0.7)
        settings = {"guidance": guidance, "keep": "last", "update_rule": rule}
        guided = sample(iterations=3, **settings).result[0]["samples"]
        unguided = sample(iterations=0, **settings).result[0]["samples"]
        assert torch.equal(guided[..., 4:], unguided[..., 4:]) and (guided != unguided)[..., :4].any()

    def test_only_the_steps_between_the_percents(self, sample, job, limit, offsets):
        sample(guidance=limit(job.identity, start_percent=0.4, end_percent=0.6), iterations=2, gradient="full")
        moved = torch.stack(offsets).flatten(1).any(dim=1).tolist()
        assert moved == [False, False, False, True, False, True], "d_1 of three, after the first correction"

    def test_two_people_under_limits_of_their_own(self, run, sample, job, other, limit):
        """As the full graph, which has one gradient for each."""
        parts = [
            limit(job.identity, mask=half("left"), end_percent=0.7),
            limit(other, mask=half("right"), start_iteration=1),
        ]
        (both,) = run("CombineGuidance", guidance_1=parts[0], guidance_2=parts[1]).result
        windowed, full = (sample(guidance=both, iterations=3, gradient=way).result for way in ("windowed", "full"))
        torch.testing.assert_close(windowed[0]["samples"], full[0]["samples"], atol=1e-3, rtol=0)
        assert list(terms_of(full[2])) == ["guidance_1", "guidance_2"]

    def test_any_order_of_limits_and_combinations(self, run, sample, job, colors, limit):
        limits = {"start_iteration": 1, "end_percent": 0.6, "mask": half("left")}
        (before,) = run(
            "CombineGuidance", guidance_1=limit(job.identity, **limits), guidance_2=limit(colors, **limits)
        ).result
        after = limit(run("CombineGuidance", guidance_1=job.identity, guidance_2=colors).result[0], **limits)
        apart = limit(limit(limit(after, start_iteration=1), end_percent=0.6), mask=half("left"))
        latents = [sample(guidance=each, iterations=3).result[0]["samples"] for each in (before, after, apart)]
        assert torch.equal(latents[0], latents[1]) and torch.equal(latents[0], latents[2])

    def test_a_latent_with_a_frame_axis(self, pack, job, limit):
        scope = [*limit(job.identity, mask=half("left")).terms.values()][0][1].scope
        mask = scope.mask_on(torch.zeros(1, 16, 1, 8, 8), (64, 64))
        assert mask.shape == (8, 8) and mask[:, :4].eq(1).all() and not mask[:, 4:].any()

    @pytest.mark.parametrize(
        ("limits", "message"),
        [
            (
                {"start_percent": 0.5, "end_percent": 0.5},
                "from 0.5 to 0.5 of the steps, which is never: the start must",
            ),
            ({"start_percent": float("nan")}, "from nan to 1 of the steps, which is never"),
            ({"start_iteration": 5, "end_iteration": 5}, "from iteration 5 to 5, which is never: let it end after it"),
            ({"mask": torch.zeros(1, 64, 64)}, "mask is empty: paint over what may change, or disconnect the mask"),
            ({"mask": torch.ones(2, 64, 64)}, "there are 2 masks: connect one, of what may change in every picture"),
            ({"mask": torch.ones(1, 8, 8) / 0}, "the mask of what may change has values that are nan or infinite"),
        ],
    )
    def test_limits_that_leave_nothing(self, job, limit, limits, message):
        with pytest.raises(ValueError, match=message):
            limit(job.identity, **limits)

    @pytest.mark.parametrize(
        ("limits", "message"),
        [
            ({"start_percent": 0.2, "end_percent": 0.4}, "no step of 3 has its middle between 0.2 and 0.4 of the way"),
            (
                {"mask": torch.ones(1, 64, 96)},
                "mask has 96 x 64 pixels and the picture 64 x 64: they must have the same",
            ),
        ],
    )
    def test_limits_that_the_picture_cannot_have(self, sample, job, limit, limits, message):
        with pytest.raises(ValueError, match=message):
            sample(guidance=limit(job.identity, start_iteration=1, **limits))

    def test_a_start_after_the_end(self, run, sample, job, limit, colors, caplog):
        late = limit(job.identity, start_iteration=4)
        message = "guidance starts at iteration 4, and the run has 4, from 0 to 3, so that it never acts: let it start"
        with pytest.raises(ValueError, match=message):
            sample(guidance=late, iterations=4)
        assert sample(guidance=late, iterations=0).result[0]["samples"].isfinite().all()
        (both,) = run("CombineGuidance", guidance_1=late, guidance_2=colors).result
        report = sample(guidance=both, iterations=4).result[2]
        assert "guidance_1 starts at iteration 4, and the run has 4" in caplog.text
        assert report.energy[:4] == report.terms["guidance_2"]["energy"][:4]
        sample(guidance=late, iterations=5)

    def test_masks_without_a_common_place(self, sample, job, limit):
        guidance = limit(limit(job.identity, mask=half("left")), mask=half("right"))
        with pytest.raises(ValueError, match="masks that confine this guidance have no place in common"):
            sample(guidance=guidance)


class TestRefusals:
    def test_nothing_weighs_anything(self, run, job):
        with pytest.raises(ValueError, match="all weights are 0, so there is nothing to guide"):
            run("CombineGuidance", guidance_1=job.identity, weight_1=0.0)

    def test_nothing_is_connected(self, run):
        with pytest.raises(ValueError, match="nothing is connected: connect at least one"):
            run("CombineGuidance")

    def test_a_discriminator_that_is_gone(self, run, sample, job, pack):
        from dataclasses import replace

        gone = replace(job.identity, discriminator=job.discriminator._discriminator)
        (guidance,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=gone).result
        with pytest.raises(ValueError, match="The discriminator recogniser .* not loaded .*Run the node that loads it"):
            sample(guidance=guidance)

    @pytest.mark.parametrize(("what", "named"), [(None, "nothing"), ("a text", "a str")])
    def test_what_is_no_guidance(self, run, sample, job, what, named):
        """From a switch, say, whose socket takes anything."""
        message = f"{named} arrives where an identity or guidance should: connect Encode Reference Identity or a"
        with pytest.raises(ValueError, match=message):
            run("LimitGuidance", guidance=what)
        with pytest.raises(ValueError, match=message):
            sample(guidance=what)
        sockets = {"guidance_1": job.identity, "guidance_2": what}
        if what is None:
            assert list(run("CombineGuidance", **sockets).result[0].terms) == ["guidance_1"]
        else:
            with pytest.raises(ValueError, match=message):
                run("CombineGuidance", **sockets)

    @pytest.mark.parametrize("guided", ["alone", "limited", "combined"])
    def test_no_vae(self, run, sample, job, guided):
        job.vae = None
        guidance = {
            "alone": job.identity,
            "limited": run("LimitGuidance", guidance=job.identity, start_percent=0.5).result[0],
            "combined": run("CombineGuidance", guidance_1=job.identity).result[0],
        }[guided]
        with pytest.raises(ValueError, match="There is no VAE. If it comes from a checkpoint loader.*use a Load VAE"):
            sample(guidance=guidance)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"detect_every": 0}, "the detector must run at every iterate or every n-th, n >= 1, not 0"),
            ({"pixels": float("nan")}, "the share of the pixels must be 0 or more, not nan"),
            ({"pixels": -1.0}, "the share of the pixels must be 0 or more, not -1"),
            ({"mask": torch.ones(1, 8, 8) / 0}, "mask of where the identity shall be has values that are nan or inf"),
            ({"mask": torch.ones(1, 0, 8)}, "mask of where the identity shall be has no pixels, \\(1, 0, 8\\)"),
        ],
    )
    def test_options_that_cannot_be(self, run, job, options, message):
        with pytest.raises(ValueError, match=message):
            run("IdentityGuidance", identity=job.identity, **options)

    @pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0])
    def test_weights_that_cannot_be(self, run, job, weight):
        with pytest.raises(ValueError, match=f"weight of guidance_1 must be 0 or more, not {weight}"):
            run("CombineGuidance", guidance_1=job.identity, weight_1=weight)

    def test_a_mask_that_is_lost_in_a_small_picture(self, run, sample, job):
        mask = torch.zeros(1, 640, 640)
        mask[0, 1, 1] = 1
        for node, kind in (("IdentityGuidance", {"identity": job.identity}), ("ColorGuidance", {"image": pictures()})):
            with pytest.raises(
                ValueError, match="nothing is left of the mask in a picture of 64 x 64 pixels: paint over"
            ):
                sample(guidance=run(node, mask=mask, **kind).result[0])
        confined = run("LimitGuidance", guidance=job.identity, mask=mask).result[0]
        assert sample(guidance=confined).result[0]["samples"].isfinite().all(), "a soft mask may be that small"

    @pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.half, torch.float64])
    def test_masks_of_any_numbers(self, run, sample, job, kind):
        large = half("left", 640)
        plain, other = (
            sample(guidance=run("LimitGuidance", guidance=job.identity, mask=mask).result[0]).result[0]["samples"]
            for mask in (half("left"), large.to(kind))
        )
        assert torch.equal(plain, other)

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (torch.ones(1, 1, 1, 3), "reference image has only 1 x 1 pixels; use one of at least 8 x 8"),
            (torch.ones(0, 16, 16, 3), "no reference image: connect at least one"),
            (torch.ones(1, 16, 16, 2), "reference image must be grey, RGB or RGBA"),
            (255 * torch.ones(1, 16, 16, 3), "reference image has pixels from 255 to 255; they must be in 0 to 1"),
        ],
    )
    def test_pictures_that_are_none(self, run, job, images, message):
        with pytest.raises(ValueError, match=message):
            run("EncodeReferenceIdentity", discriminator=job.discriminator, images=images)

    def test_a_transparent_reference_stands_on_white(self, run, job):
        cut_out = torch.cat([pictures(), torch.zeros(1, 40, 40, 1)], dim=-1)
        white = torch.ones(1, 40, 40, 3)
        first, second = (
            run("EncodeReferenceIdentity", discriminator=job.discriminator, images=each).result[0].embeddings
            for each in (cut_out, white)
        )
        assert torch.equal(first, second)

    def test_an_identity_that_another_discriminator_encoded(self, run, sample, job, pack, parts, tmp_path, monkeypatch):
        """In a graph it may guide beside those of the connected one; from a file, it is refused."""
        network = onnx.load(parts.recogniser)
        network.doc_string = "another one"
        onnx.save(network, tmp_path / "stranger.onnx")
        stranger = pack("nodes.host.networks.discriminators").load_discriminator(tmp_path / "stranger.onnx")
        (theirs,) = run("EncodeReferenceIdentity", discriminator=stranger, images=pictures(seed=2)).result[:1]
        (both,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=theirs).result
        report = sample(guidance=both, iterations=4).result[2]
        assert list(report.settings["discriminators"]) == ["recogniser", "stranger"]
        assert all(part["similarity"][-1] > part["similarity"][0] for part in terms_of(report).values())

        monkeypatch.setitem(folder_paths.folder_names_and_paths, "identities", ([str(tmp_path)], {".safetensors"}))
        run("SaveIdentity", identity=theirs, filename_prefix="theirs")
        (file,) = tmp_path.glob("theirs*.safetensors")
        with pytest.raises(ValueError, match="was encoded by stranger .* mean nothing to another.*here recogniser"):
            run("LoadIdentity", discriminator=job.discriminator, file=file.name)

    def test_the_host_may_unload_in_between(self, run, sample, job, other):
        (guidance,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=other).result
        before = sample(guidance=guidance).result[0]["samples"]
        comfy.model_management.unload_all_models()
        assert torch.equal(sample(guidance=guidance).result[0]["samples"], before)


class TestPeople:
    """A detector that plays a script stands before the small recogniser."""

    @pytest.fixture
    def people(self, job, pack, monkeypatch):
        Region = pack("rectifid_core.images.regions").Region
        left, right = Region((0, 0, 32, 64), 0.9), Region((32, 0, 64, 64), 0.8)
        eye = job.discriminator._discriminator
        encode = pack("nodes.host.networks.discriminators").encode_images
        seen = SimpleNamespace(regions=[left, right], left=left, right=right)
        seen.identities = [encode(job.discriminator, pictures(seed=seed)) for seed in (4, 5)]
        monkeypatch.setattr(eye, "detects", True, raising=False)
        monkeypatch.setattr(eye, "noun", "face", raising=False)
        monkeypatch.setattr(eye, "locate", lambda image, query=None: [seen.regions] * len(image), raising=False)
        return seen

    def guidance(self, run, people):
        first, second = people.identities
        return run("CombineGuidance", guidance_1=first, guidance_2=second).result[0]

    def test_two_faces_for_two_people(self, run, sample, people):
        report = sample(guidance=self.guidance(run, people), iterations=4).result[2]
        for part in terms_of(report).values():
            assert part["found"] == [[True]] * 5 and part["similarity"][-1] > part["similarity"][0]

    def test_one_face_for_two_people(self, run, sample, people, caplog):
        people.regions = [people.left]
        latent, image, report = sample(guidance=self.guidance(run, people), iterations=4).result
        found = [part["found"][0][0] for part in terms_of(report).values()]
        assert sorted(found) == [False, True] and report.found == [[True]] * 5
        assert report.similarity[-1] > report.similarity[0]
        missing = f"guidance_{found.index(False) + 1}"
        assert f"What {missing} shall guide is not in the unguided picture; the others" in caplog.text
        assert f"{missing}: never found in the picture" in report.text()

    def test_no_face_for_two_people(self, run, sample, people):
        people.regions = []
        with pytest.raises(ValueError, match="There is no face in the unguided picture"):
            sample(guidance=self.guidance(run, people))

    def test_no_face_where_the_mask_is(self, run, sample, people):
        people.regions = [people.left]
        (guidance,) = run("IdentityGuidance", identity=people.identities[0], mask=half("right")).result
        with pytest.raises(ValueError, match="no face in the unguided picture.*it counts only where the mask is"):
            sample(guidance=guidance)


def test_the_latent_goes_on_in_the_host(run, sample, job, other):
    (guidance,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=other).result
    latent = sample(guidance=guidance).result[0]
    assert host_nodes.VAEDecode().decode(job.vae, latent)[0].shape == (1, 64, 64, 3)


@pytest.mark.parametrize("sides", [("left", "right"), ("right", "left")])
def test_masks_swap_the_demos_people(nodes, run, sides):
    """Two portraits side by side, drawn anew by half as two others, by the guiding recogniser's own word.

    Measured: 0.82 to 0.92 on the own side, 0.23 to 0.40 on the other.  The demo model was not made for pictures this
    wide, so that only the recogniser sees people in them.
    """
    model, clip, vae = nodes["LoadDemoModel"].execute().result
    positive, negative = (
        host_nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("a person in a red hat, green background", "")
    )
    portraits = [run("DrawDemoPortrait", identity=5000003 + n).result[0] for n in (98, 99, 0, 4)]
    scene, references = torch.cat(portraits[:2], dim=2), portraits[2:]
    (eye,) = run("LoadEmbeddingDiscriminator", discriminator="embedded").result
    people = [run("EncodeReferenceIdentity", discriminator=eye, images=each).result[0] for each in references]
    masks = {"left": torch.zeros(1, 128, 256), "right": torch.zeros(1, 128, 256)}
    masks["left"][..., :128], masks["right"][..., 128:] = 1, 1
    guidances = [
        run("IdentityGuidance", identity=each, mask=masks[side]).result[0]
        for each, side in zip(people, sides, strict=True)
    ]
    image = run(
        "AnchoredRectifiedSampler",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=host_nodes.VAEEncode().encode(vae, scene)[0],
        vae=vae,
        guidance=run("CombineGuidance", guidance_1=guidances[0], guidance_2=guidances[1]).result[0],
        seed=1,
        iterations=6,
        guidance_scale=2.0,
        views=2,
        denoise=0.5,
    ).result[1]
    halves = {"left": image[:, :, :128], "right": image[:, :, 128:]}
    for person, own, others in zip(people, sides, sides[::-1], strict=True):
        own, others = (run("MeasureIdentity", images=halves[side], identity=person).result[0] for side in (own, others))
        assert own > 0.7 and own > others + 0.3
