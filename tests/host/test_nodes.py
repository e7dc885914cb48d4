"""The nodes as the editor and a graph see them."""

import json
import re
from types import SimpleNamespace

import comfy.utils
import folder_paths
import pytest
import server
import torch
from comfy_api.latest import io

import nodes as host_nodes

IDS = [
    "LoadFaceDiscriminator",
    "LoadSubjectDiscriminator",
    "LoadEmbeddingDiscriminator",
    "EncodeReferenceIdentity",
    "SaveIdentity",
    "LoadIdentity",
    "MeasureIdentity",
    "CropAroundSubject",
    "DescribeFaceIdentity",
    "IdentityGuidance",
    "ColorGuidance",
    "StyleGuidance",
    "SegmentationGuidance",
    "CombineGuidance",
    "LimitGuidance",
    "FindSeed",
    "EncodePromptBatch",
    "AnchoredRectifiedSampler",
    "AnchoredSampler",
    "AnchoredSamplerSettings",
    "PlotConvergence",
    "ModelSamplingRectifiedFlow",
    "ModelSamplingPeRFlow",
    "LoadDemoModel",
    "LoadDemoDiscriminator",
    "LoadDemoVision",
    "DrawDemoPortrait",
]


@pytest.fixture
def discriminators_folder(parts, tmp_path, monkeypatch):
    folder = tmp_path / "discriminators"
    folder.mkdir()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "discriminators", ([str(folder)], set()))
    (folder / "mine.onnx").write_bytes(parts.recogniser.read_bytes())
    (folder / "notes.txt").write_text("not a network")
    return folder


def test_all_nodes_are_registered(nodes):
    assert list(nodes) == IDS
    assert {"discriminators", "identities", "insightface"} <= folder_paths.folder_names_and_paths.keys()


@pytest.mark.parametrize("node_id", IDS)
def test_each_input_explains_itself(nodes, node_id):
    schema = nodes[node_id].GET_SCHEMA()
    assert schema.category.split("/")[0] == "RectifID"
    assert schema.description and schema.display_name
    for each in schema.inputs or []:
        assert each.tooltip, each.id
        if isinstance(each, io.Int.Input | io.Float.Input):
            assert each.min <= each.default <= each.max
        if isinstance(each, io.Combo.Input):
            assert each.default in each.options
    assert all(each.tooltip for each in schema.outputs)
    json.dumps(nodes[node_id].GET_NODE_INFO_V1())


def test_the_guidance_socket_takes_any_guidance(nodes):
    guidance = nodes["AnchoredRectifiedSampler"].INPUT_TYPES()["optional"]["guidance"]
    assert guidance[0] == "RECTIFID_GUIDANCE"


def test_the_sampler_returns_latent_image_and_report(sample, run, job):
    output = sample()
    latent, image, report = output.result
    assert latent["samples"].shape == (1, 16, 8, 8)
    assert image.shape == (1, 64, 64, 3) and image.min() >= 0 and image.max() <= 1
    assert report.number == [0, 1, 2]
    settings = report.settings
    assert settings["seed"] == 5 and list(settings["discriminators"]) == ["recogniser"]
    assert settings["device"] == "cpu" and settings["types"] == ["float32"] and settings["threads"] >= 1
    assert set(settings["versions"]) == {"rectifid", "comfyui", "torch", "python"}
    assert "unknown" not in settings["versions"].values()
    assert json.loads(json.dumps(settings)) == settings, "it can be kept"
    assert output.ui["text"] == ("family: flow\n" + report.text(),) and len(output.ui["images"]) == 1
    (shown,) = output.ui["rectifid"]
    similarity = [row[0] for row in report.similarity]
    assert shown["curves"] == {"": pytest.approx(similarity, abs=1e-4)} and not shown["running"]
    assert re.fullmatch(rf"{max(similarity):.3f} \(was {similarity[0]:.3f}\), 2 iterations, \d+ s", shown["status"])
    plot, strip = run("PlotConvergence", report=report, every=0).result
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and 0.5 < plot.mean() <= 1
    assert strip.shape == (1, 86, 68 * len({0, 2, 1 + (similarity[2] >= similarity[1])}) - 4, 3)


def test_a_later_node_may_go_on_with_the_latent(sample, job):
    latent = sample().result[0]
    assert host_nodes.VAEDecode().decode(job.vae, latent)[0].shape == (1, 64, 64, 3)
    job.latent = latent
    assert job.ksampler(denoise=0.5).isfinite().all()


def test_the_sampler_shows_its_progress(sample, monkeypatch):
    steps, events = [], []
    hook = lambda value, total, preview, node_id: steps.append((value, total, preview, node_id))  # noqa: E731
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    instance = SimpleNamespace(send_sync=lambda *event: events.append(event), client_id="me")
    monkeypatch.setattr(server.PromptServer, "instance", instance, raising=False)

    report = sample().result[2]
    assert [(value, total, node_id) for value, total, _, node_id in steps] == [(n, 3, "7") for n in (1, 2, 3)]
    kind, picture, size = steps[-1][2]
    assert (kind, picture.size, size) == ("JPEG", (64, 64), 512)
    assert {(kind, data["node"], to) for kind, data, to in events} == {("rectifid.run", "7", "me")}
    assert [data["running"] for _, data, _ in events] == [True] * 4 + [False]
    assert events[2][1]["line"] == f"iteration 1 of 2: similarity {report.similarity[1][0]:.3f}"
    assert events[2][1]["status"].endswith("1 of 2, about 0 s left")
    assert events[-1][1]["line"] == "family: flow\n" + report.text()


def test_the_sampler_stops_when_every_picture_is_similar_enough(sample, job):
    job.latent = {"samples": torch.zeros(2, 16, 8, 8)}
    similarity = torch.tensor(sample(iterations=4).result[2].similarity)
    enough = (similarity[0].min() + similarity.amax(dim=0).min()).item() / 2
    first = (similarity >= enough).cummax(dim=0).values.all(dim=1).int().argmax().item()
    assert 0 < first < 4
    assert sample(iterations=4, stop_at_similarity=enough).result[2].number[-1] == first


def test_the_sampler_returns_the_best_or_the_last(sample):
    best, last = (
        sample(update_rule="accumulated", iterations=4, guidance_scale=100.0, scale_unit="published", keep=keep).result
        for keep in ("best", "last")
    )
    similarity = [row[0] for row in best[2].similarity]
    assert similarity == [row[0] for row in last[2].similarity]
    assert max(similarity) > similarity[-1], "this scale overshoots, or the test is pointless"
    assert not torch.equal(best[1], last[1])


@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
def test_a_discriminator_from_the_models_folder_guides(run, sample, discriminators_folder, nodes, channel_order):
    options = nodes["LoadEmbeddingDiscriminator"].INPUT_TYPES()["required"]["discriminator"][1]["options"]
    assert options == ["mine.onnx"]
    (discriminator,) = run(
        "LoadEmbeddingDiscriminator", discriminator="mine.onnx", channel_order=channel_order, left=0.25, bottom=0.75
    ).result
    (portrait,) = run("DrawDemoPortrait", identity=3).result
    encoded = run("EncodeReferenceIdentity", discriminator=discriminator, images=portrait)
    identity, crops, boxes = encoded.result
    assert crops.shape == (1, 32, 32, 3) and boxes.shape == portrait.shape
    assert len(encoded.ui["images"]) == 2, "boxes and crop"
    similarity = sample(guidance=identity, iterations=4).result[2].similarity
    assert similarity[-1] > similarity[0]


def test_a_changed_file_is_loaded_again(nodes, discriminators_folder):
    fingerprint = nodes["LoadEmbeddingDiscriminator"].fingerprint_inputs
    before = fingerprint(discriminator="mine.onnx", left=0.0)
    (discriminators_folder / "mine.onnx").touch()
    assert fingerprint(discriminator="mine.onnx", left=0.0) != before


def test_a_damaged_file_is_refused(run, discriminators_folder):
    (discriminators_folder / "half.onnx").write_bytes((discriminators_folder / "mine.onnx").read_bytes()[:900])
    with pytest.raises(ValueError, match="half.onnx"):
        run("LoadEmbeddingDiscriminator", discriminator="half.onnx")


def test_an_empty_box_is_refused(run, discriminators_folder):
    with pytest.raises(ValueError, match="box"):
        run("LoadEmbeddingDiscriminator", discriminator="mine.onnx", left=0.5, right=0.5)


class TestRefusals:
    """Before anything is computed."""

    def test_a_model_that_is_no_flow_or_diffusion_model(self, sample, job):
        from comfy_extras.nodes_model_advanced import ModelSamplingStableCascade

        job.model = ModelSamplingStableCascade().patch(job.model, 2.0)[0]
        with pytest.raises(ValueError, match="neither a flow nor"):
            sample()

    def test_no_vae(self, sample, job):
        job.vae = None
        with pytest.raises(ValueError, match="VAE"):
            sample()

    def test_a_vae_of_another_model(self, sample, job):
        import comfy.sd

        job.vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.ones(())})
        with pytest.raises(ValueError, match="3 channels.*16"):
            sample()

    def test_a_batch_of_no_pictures(self, sample, job):
        job.latent = {"samples": torch.zeros(0, 16, 8, 8)}
        with pytest.raises(ValueError, match="no pictures"):
            sample()

    def test_a_latent_of_another_model(self, sample, job):
        job.latent = {"samples": torch.ones(1, 4, 8, 8)}
        with pytest.raises(ValueError, match="4 channels.*16"):
            sample()

    @pytest.mark.parametrize("shape", [(1, 16, 5, 8, 8), (1, 16, 100)])
    def test_a_video_or_a_sound(self, sample, job, shape):
        job.latent = {"samples": torch.ones(shape)}
        with pytest.raises(ValueError, match="one frame"):
            sample()


def test_a_prediction_never_ends_a_single_pass(sample):
    """Four steps, two updates each: what comes before iteration 6 is a forecast, however similar."""
    settings = {"update_rule": "single_pass", "iterations": 8, "guidance_scale": 30.0}
    output = sample(**settings).result[2]
    assert output.predicted == [False, *[True] * 5, False, False, False]
    similarity = [row[0] for row in output.similarity]
    enough = (similarity[0] + min(similarity[1:])) / 2
    assert similarity[0] < enough < min(similarity[1:])
    assert sample(**settings, stop_at_similarity=enough).result[2].number[-1] == 6


def test_a_run_ends_when_the_fixed_point_has_settled(sample, run, job):
    settings = {"iterations": 30, "guidance_scale": 1.0, "views": 0}
    report = sample(**settings).result[2]
    assert 0 < report.number[-1] < 20
    assert report.residual[-1][0] < 0.1 * report.residual[0][0]
    late = run("LimitGuidance", guidance=job.identity, start_iteration=20).result[0]
    assert 20 <= sample(**{**settings, "iterations": 60}, guidance=late).result[2].number[-1] < 60, "it waits"
