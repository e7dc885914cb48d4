"""What a user does in the editor, by mouse and keyboard, with both of its renderers.

COMFYUI_FRONT_END names another front end's folder than that of the host: tests/server then tries that one.
"""

from __future__ import annotations

import json
import time

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from scripts.demo import WORKFLOW
from scripts.editor import editing
from scripts.layout import TITLE
from tests.helpers.servers import COMPLETE

SAMPLER = "AnchoredRectifiedSampler"
KEPT = f"app.graph.nodes.find(node => node.type === '{SAMPLER}').properties.rectifid_run"
CURVE = f"({KEPT}?.curves?.[''] ?? [])"
DONE = f"{KEPT}?.status?.includes('iterations')"
SHOWN = (  # every node of a type has pictures
    "type => app.graph.nodes.filter(node => node.type === type).every(({id}) => app.nodeOutputs?.[id]?.images?.length)"
)
BUTTON = ".rectifid-run button:visible"
ONE_RENDERER = pytest.mark.parametrize("editor", [False], ids=["classic"], indirect=True)  # the others' are the same


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes_2"])
def editor(request, server, chromium):
    with editing(chromium) as editor:
        editor.open(server, nodes_2=request.param)
        yield editor


@pytest.fixture(scope="module")
def seeds():
    return iter(range(100, 200))


@pytest.fixture
def start(editor, weights):
    """`start(seed, iterations)`: opens the quickstart, gives it a rule that never settles, and presses Run."""

    def begin(seed, iterations):
        editor.load(WORKFLOW)
        editor.page.evaluate(
            """sampler => {
                const settings = LiteGraph.createNode("AnchoredSamplerSettings")
                settings.pos = [0, 1400]
                app.graph.add(settings)
                settings.connect(0, app.graph.nodes.find(({type}) => type === sampler), "settings")
            }""",
            SAMPLER,
        )
        editor.set("AnchoredSamplerSettings", "preset", "as published")
        editor.set(SAMPLER, "seed", seed)
        editor.set(SAMPLER, "iterations", iterations)
        editor.page.get_by_test_id("queue-button").click()

    return begin


@pytest.fixture(autouse=True)
def nothing_left_running(server):
    yield
    server.interrupt()
    wait_until_idle(server)


def wait_until_idle(server, seconds=120):
    end = time.monotonic() + seconds
    while any(json.loads(server.get("/queue")).values()):
        assert time.monotonic() < end, "the server does not come to rest"
        time.sleep(0.1)


def drag_first_output_to_the_canvas(editor, node, key=None):
    """A new node alone on the canvas, and the link of its first output dropped beside it, with a key held or not."""
    page = editor.page
    page.evaluate(
        """type => {
            app.graph.clear()
            const node = LiteGraph.createNode(type)
            node.pos = [0, 0]
            app.graph.add(node)
            app.canvas.ds.scale = 1
            app.canvas.ds.offset = [300, 200]
            app.canvas.setDirty(true, true)
        }""",
        node,
    )
    editor.settle()
    dot = page.locator("[data-node-id] .lg-slot--output [data-slot-key]").first  # of Nodes 2.0
    if dot.count():
        dot.hover(force=True)  # what the pointer meets there is the dot's own surroundings
    else:
        page.mouse.move(
            *page.evaluate(
                """() => {
                    const {x, y} = app.canvasEl.getBoundingClientRect()
                    const [left, top] = app.graph.nodes[0].getConnectionPos(false, 0)
                    return [left + app.canvas.ds.offset[0] + x, top + app.canvas.ds.offset[1] + y]
                }"""
            )
        )
    page.mouse.down()
    if key:
        page.keyboard.down(key)
    page.mouse.move(1000, 500, steps=5)
    page.mouse.move(1300, 600, steps=5)
    page.mouse.up()
    if key:
        page.keyboard.up(key)


def drop_until_it_shows(editor, shown, key=None):
    """Drops the link of an identity; again where the editor was not ready, as newer ones are not for the first one."""
    for last in (False, False, True):
        drag_first_output_to_the_canvas(editor, "EncodeReferenceIdentity", key)
        try:
            shown.wait_for(timeout=None if last else 15_000)
            return
        except PlaywrightTimeout:
            if last:
                raise
            editor.page.keyboard.press("Escape")


def assert_combined(editor):
    editor.page.wait_for_function("app.graph.nodes.some(node => node.type === 'CombineGuidance')")
    editor.page.wait_for_function("app.graph.nodes.some(node => node.inputs.some(({link}) => link !== null))")
    assert len(editor.graph()["links"]) == 1
    assert editor.complaints() == []


def test_a_link_that_is_dropped_searches_who_takes_it(editor):
    drop_until_it_shows(editor, editor.page.locator("input:focus"))
    editor.page.keyboard.type("combine")
    editor.page.get_by_role("option").filter(has_text="Combine Guidance").first.click()
    assert_combined(editor)


@ONE_RENDERER
def test_a_link_that_is_dropped_with_shift_offers_who_takes_it(editor):
    entry = editor.page.locator(".litecontextmenu").get_by_text("CombineGuidance", exact=True)
    drop_until_it_shows(editor, entry, "Shift")
    entry.click()
    assert_combined(editor)


@ONE_RENDERER
def test_the_search_finds_it(editor, object_info):
    words = ["rectifid", "face", "likeness", "character", "insightface"]
    if any("search_aliases" in info for info in object_info.values()):  # the older host searches names only
        words += ["pulid", "face swap"]
    editor.page.evaluate("app.graph.clear()")
    editor.settle()
    editor.page.mouse.dblclick(900, 800)
    editor.page.locator("input:focus").wait_for()
    for word in words:
        editor.page.keyboard.press("Control+a")
        editor.page.keyboard.type("no node has this name")
        editor.page.get_by_text("No results").first.wait_for()
        editor.page.keyboard.press("Control+a")
        editor.page.keyboard.type(word)
        found = editor.page.get_by_role("option").filter(has=editor.page.get_by_text("rectifid", exact=True))
        found.first.wait_for()
    found.first.click()
    editor.page.wait_for_function("app.graph.nodes.length === 1")
    editor.page.get_by_role("option").first.wait_for(state="hidden")  # newer front ends close their search slowly
    assert editor.complaints() == []


def test_the_curve_goes_on_after_a_reload_and_stop_keeps_the_best(editor, seeds, server, start):
    start(next(seeds), 1000)
    editor.page.wait_for_function(f"{CURVE}.length > 2")
    editor.page.reload()
    editor.page.wait_for_function("window.app?.vueAppReady && window.app.graph?.nodes?.length")
    editor.page.wait_for_function(f"{CURVE}.length > 4")
    editor.errors.clear()  # while it starts, the front end asks for settings files that a user need not have
    editor.page.locator(BUTTON).click()
    editor.page.wait_for_function(DONE)
    wait_until_idle(server)
    assert not editor.page.locator(BUTTON).count()
    curve = editor.page.evaluate(CURVE)
    assert 5 <= len(curve) < 1000 and editor.page.evaluate(f"{KEPT}.status").startswith(f"{max(curve):.3f} (was ")
    saved = {node["type"]: node for node in editor.graph()["nodes"]}[SAMPLER]
    assert saved["properties"]["rectifid_run"]["curves"][""] == curve, "the workflow keeps it"
    assert len(saved["widgets_values"]) == 10, "and no value of a widget moves"
    assert editor.complaints() == []


@ONE_RENDERER
def test_a_run_out_of_the_cache_shows_its_pictures_again(editor, seeds, server, start):
    seed = next(seeds)
    for _ in range(2):
        start(seed, 3)
        editor.page.wait_for_function(DONE)
        for node in (SAMPLER, "EncodeReferenceIdentity", "SaveImage"):
            editor.page.wait_for_function(SHOWN, arg=node)
        wait_until_idle(server)
    cached = list(json.loads(server.get("/history")).values())[-1]["status"]["messages"]
    (nodes,) = (data["nodes"] for event, data in cached if event == "execution_cached")
    sampler = next(str(node["id"]) for node in editor.graph()["nodes"] if node["type"] == SAMPLER)
    assert sampler in nodes


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
@pytest.mark.parametrize("editor", [True], ids=["nodes_2"], indirect=True)  # classic: test_editor, which opens them too
def test_no_template_has_a_node_larger_than_its_place(editor, path):
    """By size alone: opened after another graph, 1.32.9 scales the nodes of an older renderer, but not their places."""
    editor.load(path)
    boxes = editor.boxes()
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    assert len(boxes) == len(nodes)
    for node in nodes:
        left, top, right, bottom = boxes[str(node["id"])]
        scale = (right - left) / node["size"][0]
        assert bottom - top <= scale * (node["size"][1] + TITLE) + 2, node["type"]
        assert scale == pytest.approx(1, abs=0.01) or scale == pytest.approx(1.2, abs=0.01), node["type"]
