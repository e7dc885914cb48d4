"""ComfyUI's real front end in a headless Chromium: what a user sees and does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Page, sync_playwright

from .comfy_server import ComfyServer

FLAGS = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    # As in an installation of today, however it came about
    "Comfy.LinkRelease.Action": "search box",
    "Comfy.LinkRelease.ActionShift": "context menu",
    # On a busy machine the two halves of a double click lie far apart
    "Comfy.Pointer.DoubleClickTime": 1000,
    "Comfy.Pointer.ClickBufferTime": 1000,
}
SECONDS = 1000  # Playwright counts in milliseconds
PATIENCE = 120 * SECONDS  # with whatever has to happen
BOXES = """() => {
    const {scale} = app.canvas.ds
    const drawn = [...document.querySelectorAll("[data-node-id]")].map(element => {
        const {left, top, right, bottom} = element.getBoundingClientRect()
        return [element.dataset.nodeId, [left, top, right, bottom].map(side => side / scale)]
    }).filter(([, [left, , right]]) => right > left + 1)
    if (drawn.length) return Object.fromEntries(drawn)
    return Object.fromEntries(app.graph.nodes.map(node => {
        const [left, top, width, height] = node.getBounding()
        return [String(node.id), [left, top, left + width, top + height]]
    }))
}"""


def find_chromium() -> str | None:
    """CHROMIUM_PATH, or a Chromium or Chrome on the path."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, names)), None)


class Editor:
    """The editor's window."""

    def __init__(self, page: Page):
        self.page = page
        self.errors: list[str] = []

    def open(self, server: ComfyServer, nodes_2: bool = False) -> None:
        """Open the front end as a returning user does: a new one is greeted by the template browser and a banner.

        nodes_2: draw the nodes by the newer of its two renderers.
        """
        for name, value in {**SETTINGS, "Comfy.VueNodes.Enabled": nodes_2}.items():
            server.post(f"/settings/{name}", value)
        self.page.add_init_script("localStorage.vueNodesBannerDismissed = true")
        self.page.set_default_timeout(PATIENCE)
        self.page.goto(server.address)
        self.page.wait_for_function("window.app?.vueAppReady && window.app.graph")
        # Only now: before, the front end itself asks for settings files that a user need not have.
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def load(self, workflow: Path) -> None:
        """Load a workflow as a file dropped into the window is; the editor brings all of it into view."""
        self.page.evaluate("graph => app.loadGraphData(graph)", json.loads(workflow.read_text(encoding="utf-8")))
        self.settle()

    def settle(self) -> None:
        """Wait until every node is drawn and nothing moves any more."""
        self.page.evaluate(
            """async boxes => {
                let last, now
                for (let same = 0, i = 0; same < 3 && i < 600; i++) {
                    await new Promise(requestAnimationFrame)
                    now = JSON.stringify([app.canvas.ds.scale, [...app.canvas.ds.offset], eval(boxes)()])
                    same = now === last ? same + 1 : 0
                    last = now
                }
            }""",
            BOXES,
        )

    def graph(self) -> dict:
        """The graph in the window, as the editor saves it."""
        return self.page.evaluate("app.graph.serialize()")

    def missing_nodes(self) -> list[str]:
        """Node types of the graph that this ComfyUI does not know."""
        return self.page.evaluate(
            "app.graph.nodes.map(node => node.type).filter(type => !(type in LiteGraph.registered_node_types))"
        )

    def complaints(self) -> list[str]:
        """The text of every dialog and alert on the screen, and what the console noted."""
        return self.page.locator("[role=dialog]:visible, .p-toast-message:visible").all_inner_texts() + self.errors

    def set(self, node: str, widget: str, value: object) -> None:
        """Set a widget of the graph's one node of this type."""
        self.page.evaluate(
            """([node, widget, value]) => {
                const widgets = app.graph.nodes.find(({type}) => type === node).widgets
                widgets.find(({name}) => name === widget).value = value
            }""",
            [node, widget, value],
        )

    def run(self, seconds: float) -> None:
        """Press Run, and wait until every node that saves pictures shows one, or a dialog tells of an error."""
        self.page.get_by_test_id("queue-button").click()
        self.page.wait_for_function(
            "document.querySelector('[role=dialog]') || "
            "app.graph.nodes.filter(node => node.type === 'SaveImage').every(node => node.imgs?.length)",
            timeout=seconds * SECONDS,
        )

    def boxes(self) -> dict[str, tuple[float, float, float, float]]:
        """Each node as the renderer at work draws it, in the graph's pixels: left, top, right, bottom."""
        return self.page.evaluate(BOXES)

    def screenshot(self, file: Path) -> None:
        self.page.screenshot(path=file)

    def _note(self, message: ConsoleMessage) -> None:
        # The front end asks its makers for the latest; with `serving`, the server's policy forbids it.
        calls_home = "Content Security Policy" in message.text
        # A newer front end than the host's asks it for what it has not.
        unknown = "COMFYUI_FRONT_END" in os.environ and "404" in message.text
        if message.type == "error" and not calls_home and not unknown:
            self.errors.append(message.text)


@contextmanager
def editing(chromium: str) -> Iterator[Editor]:
    """A window of the given browser with a fresh profile."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    flags = [*FLAGS, "--no-sandbox"] if root else FLAGS
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium, args=flags) as browser:
        yield Editor(browser.new_page(viewport={"width": 1920, "height": 1080}))
