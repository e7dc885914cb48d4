"""The whole evaluation through real servers, one of which is killed, and then the program itself, which goes on."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image

from demo.portrait import draw_portrait
from rectifid_eval.protocol import faces_in
from rectifid_eval.results import DRAWN, Store
from rectifid_eval.servers import Local, Question, Worker
from rectifid_eval.workflows import find_slots, read_method
from scripts import environment
from scripts.comfy_server import free_port
from tests.helpers.host import has_host
from tests.helpers.places import ROOT, WEIGHTS, needs_weights

EXAMPLES = ROOT / "rectifid_eval" / "examples"
PROMPTS = ("a smiling person in a red hat", "a sad person, green background")
PEOPLE = 3
ROWS = 3 * PEOPLE * len(PROMPTS)
LONG = 1200  # seconds, for a machine with much else to do
STARTED: list[subprocess.Popen] = []
pytestmark = [needs_weights, pytest.mark.skipif(not has_host(), reason="set COMFYUI_PATH")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders for servers and for what is asked of them."""
    place = tmp_path_factory.mktemp("evaluation")
    environment.link_pack(place / "base" / "custom_nodes" / "rectifid")
    (place / "faces").mkdir()
    for number in range(PEOPLE):
        draw_portrait(5_000_101 + number).save(place / "faces" / f"{number}.png")
    (place / "prompts.txt").write_text("\n".join(PROMPTS))
    workflow = json.loads((EXAMPLES / "guided.json").read_text())
    workflow["7"]["inputs"]["text"] = "a dog"  # which this recogniser cannot read
    (place / "broken.json").write_text(json.dumps(workflow))
    return place


def command(place: Path) -> list[str]:
    methods = [f"{name}={EXAMPLES / name}.json" for name in ("guided", "unguided")] + [f"broken={place}/broken.json"]
    words = ["draw", "out", "--faces", "faces", "--prompts", "prompts.txt", "--methods", *methods]
    return [*words, "--start", "2", "--base", "base", "--servers", "http://127.0.0.1:9"]


def started(place: Path, *words: str) -> subprocess.Popen:
    paths = {"PYTHONPATH": str(ROOT)}
    with (place / "said.txt").open("a") as output:
        whole = [sys.executable, "-m", "rectifid_eval", *words]
        program = subprocess.Popen(whole, cwd=place, env=os.environ | paths, stdout=output, stderr=output)
    STARTED.append(program)
    return program


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_running(place):
    yield
    for program in STARTED:
        program.kill()
        program.wait()


def done(place: Path, *words: str) -> None:
    assert started(place, *words).wait(LONG) == 0, said(place)


def said(place: Path) -> str:
    return (place / "said.txt").read_text()


def kept(place: Path) -> dict[str, dict]:
    return Store(place / "out" / "drawn", DRAWN).rows()


def wait_until(true, program: subprocess.Popen | None = None, seconds: float = LONG) -> None:
    """program: what is to be running meanwhile."""
    deadline = time.monotonic() + seconds
    while not true():
        assert program is None or program.poll() is None, "it ended before that"
        assert time.monotonic() < deadline
        time.sleep(0.2)


def servers_of(program: subprocess.Popen) -> list[psutil.Process]:
    children = psutil.Process(program.pid).children(recursive=True)
    return [child for child in children if any(word.endswith("main.py") for word in child.cmdline())]


def test_a_killed_program_and_a_killed_server_lose_nothing_and_draw_nothing_twice(place):
    rows = place / "out" / "drawn"
    program = started(place, *command(place))
    wait_until(lambda: len(list(rows.glob("*.parquet"))) >= 2, program)
    running = servers_of(program)
    assert len(running) == 2
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    if shutil.which("setpriv"):  # they end with who started them
        wait_until(lambda: not any(server.is_running() for server in running), seconds=60)
    before = kept(place)
    assert 2 <= len(before) < ROWS

    program = started(place, *command(place))
    wait_until(lambda: len(list(rows.glob("*.parquet"))) > len(before), program)
    servers_of(program)[0].kill()
    assert program.wait(LONG) == 0, said(place)
    after = kept(place)
    assert len(after) == ROWS
    assert {key: after[key] for key in before} == before
    assert "went away" in said(place) and "127.0.0.1:9 does not answer" in said(place)


@pytest.fixture
def cluster(place, monkeypatch):
    """A Ray cluster of this machine: its address, and its process."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # nobody else is asked for a token, nor has one
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "2"]
    command += ["--port", address.rpartition(":")[2], "--include-dashboard", "false", "--disable-usage-stats"]
    with (place / "ray.txt").open("w") as output:
        program = subprocess.Popen(command, stdout=output, stderr=output)
    STARTED.append(program)
    wait_until(lambda: "Ray runtime started" in (place / "ray.txt").read_text(), program)
    yield address, psutil.Process(program.pid)
    program.terminate()
    program.wait(60)


def test_on_a_cluster_an_actor_that_is_killed_is_started_again_with_its_server(place, cluster):
    address, ray = cluster
    words = ["draw", "on_cluster", "--faces", "faces", "--prompts", "prompts.txt", "--people", "2"]
    words += ["--methods", f"guided={EXAMPLES / 'guided.json'}", "--start", "1", "--base", "base", "--address", address]
    rows = place / "on_cluster" / "drawn"
    program = started(place, *words)
    wait_until(lambda: any(rows.glob("*.parquet")), program)
    (actor,) = (one for one in ray.children(recursive=True) if one.name().startswith("ray::Worker"))
    actor.kill()
    assert program.wait(LONG) == 0, said(place)
    drawn = Store(rows, DRAWN).rows().values()
    assert len(drawn) == 2 * len(PROMPTS) and all(row["picture"] for row in drawn)
    assert "is up again" in said(place)


def test_what_was_drawn_is_what_was_asked(place):
    """The host writes into each picture what it was drawn by."""
    drawn = [row for row in kept(place).values() if row["picture"]]
    assert len(drawn) == 2 * PEOPLE * len(PROMPTS) == len(list((place / "out" / "pictures").iterdir()))
    for row in drawn:
        ran = json.loads(Image.open(io.BytesIO((place / "out" / row["picture"]).read_bytes())).text["prompt"])
        values = [value for node in ran.values() for value in node["inputs"].values()]
        assert row["prompt"] in values and row["seed"] in values
        assert any(row["face_digest"][:24] in str(value) for value in values) == (row["method"] == "guided")
        assert row["seconds"] > 0 and row["peak_memory"] > 1e8
    assert len({row["server"] for row in drawn}) >= 2


def test_what_always_fails_is_tried_three_times_and_told(place):
    failed = [row for row in kept(place).values() if row["error"]]
    assert {row["method"] for row in failed} == {"broken"} and len(failed) == PEOPLE * len(PROMPTS)
    assert {row["tries"] for row in failed} == {3}
    assert all("cannot read 'a dog'" in row["error"] for row in failed)


def test_a_second_time_nothing_is_left_to_do(place):
    before = kept(place)
    began = time.monotonic()
    done(place, *command(place))
    assert kept(place) == before and time.monotonic() - began < 60


def test_scores_and_report(place):
    done(place, "score", "out", "--recogniser", str(WEIGHTS / "recogniser_judge.onnx"))
    scores = sorted((place / "out" / "scores" / "identity").iterdir())
    done(place, "score", "out", "--recogniser", str(WEIGHTS / "recogniser_judge.onnx"))
    assert sorted((place / "out" / "scores" / "identity").iterdir()) == scores, "nothing is scored twice"
    done(place, "report", "out")
    rows = pq.read_table(place / "out" / "results.parquet").to_pylist()
    means = {
        method: sum(row["score_identity"] for row in rows if row["method"] == method) / (PEOPLE * len(PROMPTS))
        for method in ("guided", "unguided")
    }
    assert means["guided"] > 0.9 > 0.6 > means["unguided"]
    page = (place / "out" / "report.html").read_text()
    assert "cannot read &#39;a dog&#39;" in page and f"{means['guided']:.3f} [" in page


@pytest.fixture(scope="module")
def worker(place):
    worker = Worker(Local(str(Path(os.environ["COMFYUI_PATH"]).resolve()), str(place / "base")))
    assert worker.up() is None
    yield worker
    worker.close()


def question(worker, place, **changes) -> Question:
    method = read_method("guided", EXAMPLES / "guided.json")
    face = faces_in(place / "faces", 1)[0]
    content = Path(face.path).read_bytes()
    slots = find_slots(method, worker.kinds(method.classes))
    values = {"prompt": PROMPTS[0], "seed": 1, "face": content, "face_name": "x.png", "seconds": 300.0}
    return Question(method, slots, **(values | changes))


def test_what_takes_too_long_is_cancelled_and_the_next_is_drawn(worker, place):
    late = worker.draw(question(worker, place, seconds=0.05))
    assert late.picture is None and not late.gone and "was cancelled" in late.error
    answer = worker.draw(question(worker, place))
    assert answer.error is None and Image.open(io.BytesIO(answer.picture)).size == (128, 128)
    again = worker.draw(question(worker, place, seed=2))
    assert not again.cold and again.picture != answer.picture


def test_a_reference_that_is_no_picture_is_the_rows_failure(worker, place):
    answer = worker.draw(question(worker, place, face=b"junk", face_name="junk.png"))
    assert answer.picture is None and not answer.gone and answer.error


def test_a_server_that_is_gone_is_told_and_can_be_started_again(worker, place):
    asked = question(worker, place)
    os.kill(worker.server.process.pid, signal.SIGKILL)
    answer = worker.draw(asked)
    assert answer.picture is None and answer.gone and answer.error
    assert worker.up() is None
    assert worker.draw(asked).picture


def test_a_server_elsewhere_that_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr("rectifid_eval.servers.PATIENCE", (0,))
    assert "does not answer" in Worker("http://127.0.0.1:9").up()


def test_the_server_says_which_nodes_it_has(worker, place):
    assert set(worker.kinds({"KSampler", "ApplyInstantID"})) == {"KSampler"}
