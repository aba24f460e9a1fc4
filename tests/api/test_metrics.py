"""`GET /metrics`: of the fleet from any API, of this process in any case, and with few labels whatever is asked."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
import yaml
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.core.config import PROJECT_ROOT, Settings
from app.db import counters, heartbeats
from app.db.base import Sessions
from app.db.models import User
from app.embedded.ports import choose
from app.embedded.service import dies_with_parent
from app.main import create_app
from app.services import fleet as fleet_service
from app.services.counting import CLAIMS, FAMILIES, REAPS, STAGE_SECONDS, Counts
from app.storage.memory import MemoryStore
from app.tasks.celery_app import QUEUES
from tests.conftest import make_settings
from tests.embedded_services import wait_for
from tests.factories import ago, change, claim, make_task
from tests.pictures import encoded, subject

OWN = {"quickbg_http_requests", "quickbg_http_request_seconds"}
GAUGES = {
    "quickbg_database_up",
    "quickbg_queue_depth",
    "quickbg_oldest_due_seconds",
    "quickbg_backlog_seconds",
    "quickbg_workers_online",
    "quickbg_sweeper_last_tick_seconds",
}

Get = Callable[[str], httpx2.Response]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_service, "FRESH", 0.0)


def scraped(get: Get) -> Samples:
    """All samples, by name and labels; every line has to be one that Prometheus reads."""
    answer = get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        assert family.type != "unknown"
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def requests(samples: Samples) -> dict[tuple[str, str, str], float]:
    found = {key: dict(labels) for key in samples for name, labels in [key] if name == "quickbg_http_requests_total"}
    return {(labels["method"], labels["route"], labels["status"]): samples[key] for key, labels in found.items()}


def test_everything_has_a_type_and_is_there_from_the_start(client: TestClient) -> None:
    client.get("/livez")
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    counted = {family.name.removesuffix("_total") for family in FAMILIES}
    assert set(families) == OWN | GAUGES | counted
    assert all(families[name].type == "gauge" for name in GAUGES)
    samples = scraped(client.get)
    assert value(samples, CLAIMS) == 0
    assert value(samples, REAPS, code="worker_lost") == 0
    assert value(samples, f"{STAGE_SECONDS}_count", stage="inferring") == 0
    assert value(samples, "quickbg_rings_total", by="sweeper", kind="again") == 0
    assert value(samples, "quickbg_sweeper_last_tick_seconds") == float("inf")


def test_the_fleet_is_read_from_the_database(client: TestClient, sessions: Sessions, user: User) -> None:
    with sessions.begin() as session:
        heartbeats.beat(session, "host:1", "worker")
        heartbeats.beat(session, "host:2", "worker")
        heartbeats.beat(session, "host:3", "sweeper")
    make_task(sessions, user.id, age=90)
    assert claim(sessions, make_task(sessions, user.id, age=100))
    change(sessions, make_task(sessions, user.id, status="retrying"), run_at=ago(-60))
    samples = scraped(client.get)
    depths = {
        dict(labels)["status"]: samples[name, labels]
        for name, labels in samples
        if name.endswith("_depth") and dict(labels)["queue"] == "interactive"
    }
    assert depths == {"queued": 1, "retrying": 1, "processing": 1}
    assert value(samples, "quickbg_queue_depth", queue="bulk", status="queued") == 0
    assert 90 <= value(samples, "quickbg_oldest_due_seconds") < 120
    assert value(samples, "quickbg_backlog_seconds") == 1.0  # two wait, and two workers take a second for each
    assert value(samples, "quickbg_workers_online") == 2
    assert 0 <= value(samples, "quickbg_sweeper_last_tick_seconds") < 30
    assert value(samples, "quickbg_database_up") == 1


def test_what_several_processes_counted_is_one_sum(client: TestClient, sessions: Sessions) -> None:
    for _ in range(2):
        counts = Counts()
        counts.add(CLAIMS, 3)
        counts.observe(STAGE_SECONDS, 0.2, stage="decoding")
        counts.flush(sessions)
    samples = scraped(client.get)
    assert value(samples, CLAIMS) == 6
    assert value(samples, f"{STAGE_SECONDS}_count", stage="decoding") == 2
    assert value(samples, f"{STAGE_SECONDS}_sum", stage="decoding") == pytest.approx(0.4)
    assert value(samples, f"{STAGE_SECONDS}_bucket", stage="decoding", le="0.1") == 0
    assert value(samples, f"{STAGE_SECONDS}_bucket", stage="decoding", le="0.3") == 2
    assert value(samples, f"{STAGE_SECONDS}_bucket", stage="decoding", le="+Inf") == 2


@pytest.mark.parametrize("code", ['"', "\\", "\n", '"} 1\nforged_total{a="', "ä€", " ", "{,}="])
def test_labels_are_escaped(client: TestClient, sessions: Sessions, code: str) -> None:
    with sessions.begin() as session:
        counters.add(session, {(REAPS, (("code", code),)): 5})
    samples = scraped(client.get)
    assert value(samples, REAPS, code=code) == 5
    assert "forged_total" not in {name for name, _ in samples}


def test_requests_are_told_apart_by_their_routes_and_nothing_else(client: TestClient, headers: dict[str, str]) -> None:
    for _ in range(3):
        client.get(f"/api/v1/tasks/{uuid4()}", headers=headers)
        client.get(f"/secret/{uuid4()}")
    client.get("/api/v1/tasks/nonsense", headers=headers)
    client.get("/api/v1/health")
    client.get("/health")
    client.post("/livez")
    client.request("BREW", "/livez")
    samples = scraped(client.get)
    assert requests(samples) == {
        ("GET", "/api/v1/tasks/{task_id}", "404"): 3,
        ("GET", "/api/v1/tasks/{task_id}", "422"): 1,
        ("GET", "/api/v1/health", "200"): 1,
        ("GET", "/health", "200"): 1,
        ("GET", "unmatched", "404"): 3,
        ("POST", "/livez", "405"): 1,
        ("other", "/livez", "405"): 1,
    }
    task = {"method": "GET", "route": "/api/v1/tasks/{task_id}"}
    assert value(samples, "quickbg_http_request_seconds_count", **task) == 4
    assert value(samples, "quickbg_http_request_seconds_bucket", **task, le="+Inf") == 4
    assert value(samples, "quickbg_http_request_seconds_sum", **task) > 0


def test_an_error_of_ours_is_counted_as_one(settings: Settings, sessions: Sessions, headers: dict[str, str]) -> None:
    class Broken(MemoryStore):
        def put(self, *_: object) -> None:
            raise ZeroDivisionError

    with TestClient(create_app(settings, store=Broken())) as client:
        client.post("/api/v1/uploads", files={"file": encoded(subject(100, 80))}, headers=headers)
        assert requests(scraped(client.get)) == {("POST", "/api/v1/uploads", "500"): 1}


def test_whoever_asks_often_does_not_burden_the_database(
    client: TestClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_service, "FRESH", 3600.0)
    assert value(scraped(client.get), CLAIMS) == 0
    counts = Counts()
    counts.add(CLAIMS)
    counts.flush(sessions)
    assert value(scraped(client.get), CLAIMS) == 0
    monkeypatch.setattr(fleet_service, "FRESH", 0.0)
    assert value(scraped(client.get), CLAIMS) == 1


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def assert_without_a_database(environment: dict[str, str], port: int) -> None:
    settings = make_settings(environment, database_url=f"postgresql://a:b@127.0.0.1:{port}/c_test")
    with TestClient(create_app(settings)) as client:
        client.get("/livez")
        begun = time.monotonic()
        samples = scraped(client.get)
        assert time.monotonic() - begun < 2
    assert value(samples, "quickbg_database_up") == 0
    assert requests(samples) == {("GET", "/livez", "200"): 1}
    assert {name for name, _ in samples if not name.startswith("quickbg_http_")} == {"quickbg_database_up"}


def test_without_a_database_the_process_tells_of_itself(environment: dict[str, str]) -> None:
    assert_without_a_database(environment, 9)


def test_a_database_that_says_nothing_holds_nobody_up(environment: dict[str, str]) -> None:
    with silent_server() as port:
        assert_without_a_database(environment, port)


def test_a_process_without_a_free_thread_still_answers(client: TestClient) -> None:
    busy, done = threading.Event(), threading.Event()

    def block() -> None:
        busy.set()
        done.wait(20)

    def one_thread() -> None:
        current_default_thread_limiter().total_tokens = 1

    assert isinstance(client.app, FastAPI)
    client.app.add_api_route("/block", block)
    assert client.portal is not None
    client.portal.call(one_thread)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(client.get, "/block")
        try:
            assert busy.wait(10)
            begun = time.monotonic()
            assert value(scraped(client.get), "quickbg_database_up") == 1
            assert time.monotonic() - begun < 2
        finally:
            done.set()


def test_the_alerts_in_the_documentation_name_what_there_is(client: TestClient, project: Path) -> None:
    text = (project / "docs" / "operations.md").read_text()
    client.get("/livez")
    there = {name for name, _ in scraped(client.get)}
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    rules = yaml.safe_load(block)["groups"][0]["rules"]
    assert len(rules) == 3
    for rule in rules:
        assert set(re.findall(r"quickbg_\w+", rule["expr"])) <= there | {"quickbg_tasks_ended_total"}
        assert rule["annotations"]["summary"]
    told = set(re.findall(r"`(quickbg_\w+)", text[text.index("| metric |") :]))
    histograms = {"quickbg_stage_seconds", "quickbg_http_request_seconds"}
    counted = {family.name for family in FAMILIES} - histograms
    assert told | {"quickbg_database_up"} == GAUGES | counted | histograms | {"quickbg_http_requests_total"}


def test_the_queues_are_those_of_the_broker() -> None:
    assert fleet_service.QUEUES == QUEUES


def test_two_servers_on_one_port_answer_for_both(
    environment: dict[str, str], sessions: Sessions, tmp_path: Path
) -> None:
    port = choose(())
    command = [*dies_with_parent(), sys.executable, "-m", "app.api.server", "--workers", "2"]
    shared = environment | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "shared")}
    server = subprocess.Popen(
        [*command, "--port", str(port)],
        env=os.environ | shared,
        cwd=PROJECT_ROOT / "backend",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def get(path: str) -> httpx2.Response:
        return httpx2.get(f"http://127.0.0.1:{port}{path}")  # each time on a new connection

    def served() -> int:
        """By how many processes."""
        try:
            get("/info")
        except httpx2.HTTPError:
            return 0
        return len(list((tmp_path / "shared").glob("counter_*.db")))

    try:
        wait_for(lambda: served() == 2, "both have served")
        before = requests(scraped(get))["GET", "/info", "200"]
        for _ in range(20):
            get("/info")
        assert {requests(scraped(get))["GET", "/info", "200"] for _ in range(10)} == {before + 20}
    finally:
        server.terminate()
        server.wait(timeout=20)
