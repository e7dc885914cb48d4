"""The same prompt gives the same bytes: again, in a queue, from a PNG, and after the server was killed at any phase."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scripts.comfy_server import ComfyServer, Event, ServerError
from tests.helpers.runs import digest, drawn, pixels, portrait, prompt_in, served
from tests.helpers.servers import write_base
from tests.soak.prompts import SAMPLER, node
from tests.soak.soak import run_plain

pytestmark = pytest.mark.usefixtures("weights")

TOLERANCE = 3  # of 255, of two threads to one; 1 was seen


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("bytes"))


@pytest.fixture(scope="module")
def first(world):
    """PNGs of the portrait by one server, alone and in a queue, of another seed, and the plain picture's digest."""
    with served(world) as server:
        png, (plain, _) = drawn(server, portrait()), run_plain(server)
        again = drawn(server, portrait())
        with ThreadPoolExecutor(3) as pool:
            other, queued, _ = pool.map(lambda seed: drawn(server, portrait(seed)), (4, 3, 5))
        repeated = drawn(server, prompt_in(png))
    return {"png": png, "plain": plain, "again": again, "queued": queued, "repeated": repeated, "other": other}


@pytest.mark.parametrize("which", ["again", "queued", "repeated"])
def test_again_in_a_queue_and_from_what_is_written_in_the_picture(first, which):
    assert digest(first[which]) == digest(first["png"])
    assert digest(first["other"]) != digest(first["png"])


def at_load(event: Event) -> bool:
    return event.node == SAMPLER


def in_the_middle(event: Event) -> bool:
    return event.node == SAMPLER and event.text.startswith("iteration 3 ")


def at_save(event: Event) -> bool:
    return event.node == "saved"


def test_killed_at_each_phase_and_started_again_it_draws_the_same(world, first):
    for when in (at_load, in_the_middle, at_save):
        with served(world) as server:
            check_as_before(server, first)
            kill(server, when)
    with served(world) as server:
        check_as_before(server, first)


def kill(server: ComfyServer, when: Callable[[Event], bool]) -> None:
    """Kill the server in a run that also saves an identity, as soon as something is said."""
    reached = []

    def watch(event: Event) -> None:
        if when(event):
            reached.append(event)
            server.process.kill()
            server.process.wait()

    prompt = portrait(8, iterations=1 if when is at_save else 30)
    prompt["saved"] = node("SaveIdentity", identity=["identity", 0], filename_prefix="killed")
    with pytest.raises(ServerError):
        server.run(prompt, watch)
    assert reached


def check_as_before(server: ComfyServer, first: dict) -> None:
    """The same pictures as of a server that nobody killed, and no half identities."""
    assert digest(drawn(server, portrait())) == digest(first["png"])
    assert run_plain(server)[0] == first["plain"]
    files = server.object_info()["LoadIdentity"]["input"]["required"]["file"][0]
    for file in (each for each in files if each.startswith("killed")):
        loaded = portrait(9)
        loaded["identity"] = node("LoadIdentity", discriminator=["discriminator", 0], file=file)
        assert drawn(server, loaded)


def test_two_threads_draw_nearly_the_same(world, first):
    with served(world, OMP_NUM_THREADS="2", MKL_NUM_THREADS="2") as server:
        difference = np.abs(pixels(drawn(server, portrait())) - pixels(first["png"]))
    assert difference.max() <= TOLERANCE
