"""*Stop and keep best*: the button on a running node, which ends its run at the next iteration with what it has."""

from __future__ import annotations

import logging

from aiohttp import web
from server import PromptServer

ROUTE = "/rectifid/stop"
_asked: set[str] = set()


def add_route() -> None:
    """Where there is a server: POST ``{"node": id}`` to `ROUTE` asks the run on that node to stop.

    A server that got the same route twice would not start.  So where the pack is there twice, the second one heeds what
    the first one is asked.
    """
    global _asked
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    for route in server.routes:
        if isinstance(route, web.RouteDef) and route.path == ROUTE:
            _asked = getattr(route.handler, "asked", _asked)
            logging.warning("RectifID is in custom_nodes twice, and one of them is used: remove the other one.")
            return
    vars(_ask)["asked"] = _asked
    server.routes.post(ROUTE)(_ask)


async def _ask(request: web.Request) -> web.Response:
    try:
        asked = await request.json()
    except ValueError:
        asked = None
    node = asked.get("node") if isinstance(asked, dict) else None
    if not isinstance(node, str):
        return web.json_response({"error": "node is the id of the node whose run shall stop, as text"}, status=400)
    _asked.add(node)
    return web.json_response({})


def asked_to_stop(node_id: str | None) -> bool:
    """Whether the run on the node is to end with what it has; asking once means one run."""
    if node_id not in _asked:
        return False
    _asked.discard(node_id)
    return True


def forget(node_id: str | None) -> None:
    """What was asked of an earlier run does not count for the next."""
    if node_id is not None:
        _asked.discard(node_id)
