"""Makes the pictures of the README and of the template browser again, from one run in the real editor.

    .venv/bin/python -m scripts.pictures    # after `run.py` has set everything up
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageOps

from .comfy_server import serving
from .demo import WORKFLOW, judge, lay_out, pictures_of, quickstart_prompt
from .editor import editing, find_chromium
from .environment import ROOT, link_pack


def thumbnail(pictures: dict[str, Image.Image]) -> Image.Image:
    """The guided picture, with the reference in a corner."""
    guided = pictures["guided"].resize((512, 512), Image.Resampling.LANCZOS)
    reference = pictures["reference"].resize((160, 160), Image.Resampling.LANCZOS)
    guided.paste(ImageOps.expand(reference, 4, "white"), (8, 8))
    return guided


def main() -> int:
    if (chromium := find_chromium()) is None:
        print("This needs a Chromium; install one, or name it by CHROMIUM_PATH.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        link_pack(base / "custom_nodes" / "rectifid")
        with serving(base, base / "output") as server:
            with editing(chromium) as editor:
                editor.open(server)
                editor.load(WORKFLOW)
                editor.run(seconds=600)
                editor.screenshot(ROOT / "docs" / "quickstart_editor.png")
            pictures = pictures_of(server, server.run(quickstart_prompt(server)))  # out of the server's cache
    lay_out(pictures, judge(pictures)).save(ROOT / "docs" / "quickstart.png")
    thumbnail(pictures).save(WORKFLOW.with_suffix(".jpg"), quality=90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
