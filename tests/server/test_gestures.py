"""What a user does in the editor, by mouse and keyboard, with both of its renderers.

COMFYUI_FRONT_END names another front end's folder than that of the host: tests/server then tries that one.

They run where RECTIFID_GESTURES is set: on a busy machine the browser takes a gesture for another one now and then.
"""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import TimeoutError

from scripts.demo import WORKFLOW
from scripts.editor import SECONDS, editing
from scripts.environment import ROOT
from scripts.layout import overlaps

pytestmark = pytest.mark.skipif(
    "RECTIFID_GESTURES" not in os.environ, reason="set RECTIFID_GESTURES=1 on a quiet machine to try gestures"
)

SAMPLER = "AnchoredRectifiedSampler"
KEPT = f"app.graph.nodes.find(node => node.type === '{SAMPLER}').properties.rectifid_run"
CURVE = f"({KEPT}?.curves?.[''] ?? [])"
SLOT = """type => {
    app.graph.clear()
    const node = LiteGraph.createNode(type), {x, y} = app.canvasEl.getBoundingClientRect()
    node.pos = [0, 0]
    app.graph.add(node)
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [300, 200]
    app.canvas.setDirty(true, true)
    const [left, top] = node.getConnectionPos(false, 0)
    return [left + 300 + x, top + 200 + y]
}"""


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes_2"])
def editor(request, server, chromium):
    with editing(chromium) as editor:
        editor.open(server, nodes_2=request.param)
        yield editor


@pytest.fixture(scope="module")
def seeds():
    return iter(range(100, 200))


@pytest.fixture
def start(editor, seeds, weights):
    """`start(iterations)`: the quickstart, running with a seed of its own, after a few iterations."""

    def begin(iterations):
        editor.load(WORKFLOW)
        editor.set(SAMPLER, "seed", next(seeds))
        editor.set(SAMPLER, "iterations", iterations)
        editor.page.get_by_test_id("queue-button").click()
        editor.page.wait_for_function(f"{CURVE}.length > 2", timeout=120 * SECONDS)

    return begin


def open_search(page):
    """Double clicks on the empty canvas, again where the browser took one for a part of the click before."""
    for _ in range(20):
        page.wait_for_timeout(1 * SECONDS)
        page.mouse.dblclick(900, 800)
        try:
            page.locator("input:focus").wait_for(timeout=6 * SECONDS)
            return
        except TimeoutError:
            page.keyboard.press("Escape")
    raise AssertionError("the search does not open")


@pytest.fixture(autouse=True)
def nothing_left_running(server):
    yield
    server.interrupt()


def test_a_link_that_is_dropped_offers_who_takes_it(editor):
    left, top = editor.page.evaluate(SLOT, "EncodeReferenceIdentity")
    editor.page.wait_for_timeout(1 * SECONDS)
    editor.page.mouse.move(left, top)
    editor.page.mouse.down()
    editor.page.mouse.move(left + 100, top + 100, steps=5)
    editor.page.mouse.move(1300, 600, steps=5)
    editor.page.mouse.up()
    editor.page.locator(".litecontextmenu").get_by_text("CombineGuidance", exact=True).click()
    editor.page.wait_for_function(
        "app.graph.nodes.some(node => node.type === 'CombineGuidance')", timeout=120 * SECONDS
    )
    assert len(editor.graph()["links"]) == 1


@pytest.mark.parametrize("words", ["rectifid", "face", "likeness", "character", "pulid", "insightface", "face swap"])
def test_the_search_finds_it(editor, words):
    editor.page.evaluate("app.graph.clear()")
    open_search(editor.page)
    editor.page.keyboard.type(words)
    editor.page.get_by_text("rectifid", exact=True).first.wait_for(
        timeout=120 * SECONDS
    )  # the pack's name, at a result
    editor.page.keyboard.press("Escape")
    editor.page.keyboard.press("Escape")


def test_the_curve_moves_and_stop_keeps_the_best(editor, start):
    start(1000)
    before = editor.page.evaluate(f"{CURVE}.length")
    editor.page.wait_for_function(f"{CURVE}.length > {before}", timeout=120 * SECONDS)
    button = editor.page.locator(".rectifid-run button:visible")
    button.click()
    editor.page.wait_for_function(f"{KEPT}.status.includes('iterations')", timeout=120 * SECONDS)
    editor.page.wait_for_function("app.nodeOutputs && Object.values(app.nodeOutputs).some(each => each.rectifid)")
    assert not button.count()
    curve = editor.page.evaluate(CURVE)
    assert 3 <= len(curve) < 1000 and editor.page.evaluate(f"{KEPT}.status").startswith(f"{max(curve):.3f} (was ")
    saved = {node["type"]: node for node in editor.graph()["nodes"]}[SAMPLER]
    assert saved["properties"]["rectifid_run"]["curves"][""] == curve, "the workflow keeps it"
    assert len(saved["widgets_values"]) == 10, "and no value of a widget moves"
    assert editor.complaints() == []


def test_a_reload_in_the_middle_goes_on(editor, start):
    start(1000)
    editor.page.reload()
    editor.page.wait_for_function("window.app?.vueAppReady && window.app.graph?.nodes?.length", timeout=120 * SECONDS)
    editor.page.wait_for_function(f"{CURVE}.length > 4", timeout=120 * SECONDS)
    editor.page.locator(".rectifid-run button:visible").wait_for(timeout=120 * SECONDS)


def test_a_run_out_of_the_cache_shows_its_pictures_again(editor, start):
    start(3)
    done = f"{KEPT}?.status?.includes('iterations')"
    editor.page.wait_for_function(done, timeout=120 * SECONDS)
    editor.page.wait_for_timeout(2 * SECONDS)
    editor.page.evaluate(
        f"() => {{ app.nodeOutputs = {{}}; delete {KEPT.removesuffix('.rectifid_run')}.rectifid_run }}"
    )
    editor.page.get_by_test_id("queue-button").click()
    editor.page.wait_for_function(done, timeout=120 * SECONDS)
    shown = "type => app.nodeOutputs[app.graph.nodes.find(node => node.type === type).id]?.images?.length"
    for node in (SAMPLER, "EncodeReferenceIdentity"):
        assert editor.page.evaluate(shown, node)


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_no_template_has_nodes_over_one_another(editor, path):
    editor.load(path)
    assert overlaps(editor.boxes()) == []
