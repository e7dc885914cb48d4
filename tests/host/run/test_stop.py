"""The route of *Stop and keep best* on the host's server."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from aiohttp import web
from server import PromptServer


@pytest.fixture
def stop(pack):
    return pack("nodes.host.run.stop")


def ask(handler, content: str) -> web.Response:
    async def body():
        return json.loads(content)

    return asyncio.run(handler(SimpleNamespace(json=body)))


def test_the_pack_twice_adds_one_route_and_both_heed_it(stop, monkeypatch, caplog):
    """A second one of the same path would keep the server from starting."""
    routes = web.RouteTableDef()
    monkeypatch.setattr(PromptServer, "instance", SimpleNamespace(routes=routes), raising=False)
    monkeypatch.setattr(stop, "_asked", {"old"})
    stop.add_route()
    stop.add_route()
    assert [route.path for route in routes] == [stop.ROUTE]
    assert "twice" in caplog.text
    web.Application().add_routes(routes)
    ask(routes[0].handler, '{"node": "7"}')
    assert stop.asked_to_stop("7") and not stop.asked_to_stop("7")


@pytest.mark.parametrize("content", ["[]", "7", "null", '{"node": 7}', "{}", "no json"])
def test_what_names_no_node_is_refused(stop, content):
    assert ask(stop._ask, content).status == 400
