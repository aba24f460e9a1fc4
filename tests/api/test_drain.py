"""A stopping API serves on for a while, and says that it will not for long. Against a real server process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from sqlalchemy import Engine

from app.core.config import PROJECT_ROOT
from app.embedded.ports import choose
from app.embedded.service import dies_with_parent
from tests.embedded_services import wait_for


@contextmanager
def server(environment: dict[str, str], drain: float) -> Iterator[tuple[subprocess.Popen[bytes], httpx2.Client]]:
    port = choose(())
    command = [sys.executable, "-m", "app.api.server", "--port", str(port)]
    process = subprocess.Popen(
        [*dies_with_parent(), *command],
        env=os.environ | environment | {"DRAIN_SECONDS": str(drain)},
        cwd=PROJECT_ROOT / "backend",
        stderr=subprocess.DEVNULL,
    )
    with process, httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        try:
            wait_for(lambda: answers(client) == 200, "the server is ready")
            yield process, client
        finally:
            process.kill()


def answers(client: httpx2.Client) -> int | None:
    try:
        return client.get("/readyz").status_code
    except httpx2.TransportError:
        return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_it_says_so_serves_on_and_ends(environment: dict[str, str], engine: Engine, number: signal.Signals) -> None:
    with server(environment, 2) as (process, client):
        assert client.get("/livez").headers.get("connection") != "close"
        process.send_signal(number)
        wait_for(lambda: answers(client) == 503, "it says so")
        refused = client.get("/readyz")
        assert (refused.json()["code"], refused.headers["connection"]) == ("draining", "close")
        info = client.get("/info")
        assert (info.status_code, info.headers["connection"]) == (200, "close")
        assert process.wait(15) == -signal.SIGTERM


def test_told_a_second_time_it_ends_at_once(environment: dict[str, str], engine: Engine) -> None:
    with server(environment, 300) as (process, client):
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: answers(client) == 503, "it says so")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == -signal.SIGTERM
