"""RectifID for ComfyUI: the entry point that the host looks for."""

from comfy_api.latest import ComfyExtension

from .nodes import NODES
from .nodes.host.run.stop import add_route

WEB_DIRECTORY = "./web"


class RectifIDExtension(ComfyExtension):
    """The pack's nodes, for the host."""

    async def get_node_list(self):
        return NODES


async def comfy_entrypoint():
    """What the host calls."""
    add_route()
    return RectifIDExtension()
