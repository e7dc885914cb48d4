"""*Sampler Settings*: what a sampler is told beside its own widgets."""

from __future__ import annotations

import inspect

import pytest
from comfy_api.latest import io


def widgets(schema) -> list[str]:
    """The rows of a node that show a value; a seed has a second one."""
    own = [each for each in schema.inputs if isinstance(each, io.WidgetInput)]
    return [each.id for each in own] + ["control" for each in own if getattr(each, "control_after_generate", None)]


@pytest.mark.parametrize("node", ["AnchoredRectifiedSampler", "AnchoredSampler", "FindSeed"])
def test_no_sampler_has_more_than_ten_rows_of_widgets(nodes, node):
    assert len(widgets(nodes[node].GET_SCHEMA())) <= 10


def test_without_it_the_preset_balanced_counts(sample, run):
    (balanced,) = run("AnchoredSamplerSettings").result
    without, with_ = (sample(settings=settings).result[2].settings for settings in (None, balanced))
    assert without == with_ and without["views"] == 4


def test_a_preset_decides_all_but_what_the_machine_and_the_model_want(run):
    chosen = {"views": 9, "keep": "last", "family": "consistency", "preview": "always"}
    (published,) = run("AnchoredSamplerSettings", preset="as published", **{**chosen, "keep": "best"}).result
    assert (published.views, published.keep, published.scale_unit) == (0, "last", "published")
    assert (published.family, published.preview) == ("consistency", "always")
    (custom,) = run("AnchoredSamplerSettings", preset="custom", **chosen).result
    assert {name: getattr(custom, name) for name in chosen} == chosen


def test_every_preset_runs(nodes, run, sample):
    (presets,) = (each.options for each in nodes["AnchoredSamplerSettings"].GET_SCHEMA().inputs if each.id == "preset")
    reports = {
        name: sample(settings=run("AnchoredSamplerSettings", preset=name).result[0]).result[2] for name in presets
    }
    assert [report.number[-1] for report in reports.values()] == [2] * 5
    assert len({str(report.settings) for name, report in reports.items() if name != "custom"}) == 4


def test_its_widgets_are_the_settings_with_their_usual_values(nodes, pack):
    settings = pack("nodes.host.run.settings").SamplerSettings()
    inputs = {each.id: each.default for each in nodes["AnchoredSamplerSettings"].GET_SCHEMA().inputs}
    assert inputs.pop("preset") == "balanced"
    assert inputs == vars(settings)


def test_newer_hosts_fold_away_what_few_need_and_find_nodes_by_other_words(nodes):
    """Where the host's schema knows of it; the oldest knows neither."""
    folded = {
        name: [each.id for each in node.GET_SCHEMA().inputs or () if getattr(each, "advanced", None)]
        for name, node in nodes.items()
    }
    knows = "advanced" in inspect.signature(io.Int.Input).parameters
    assert folded["AnchoredSamplerSettings"] == (["scale_unit", "family", "preview"] if knows else [])
    for name, node in nodes.items():
        aliases = set(getattr(node.GET_SCHEMA(), "search_aliases", None) or ())
        assert knows == ("rectifid" in aliases), name
        if name in ("AnchoredRectifiedSampler", "LoadFaceDiscriminator", "EncodeReferenceIdentity"):
            assert knows == ({"likeness", "character", "pulid", "face swap"} <= aliases)
