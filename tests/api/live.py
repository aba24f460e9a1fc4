"""The API on a real server in this process, for what only shows over real sockets: waits and streams."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any
from uuid import UUID

import httpx2
import uvicorn
from sqlalchemy import func

from app.api.server import OPTIONS
from app.core.config import Settings
from app.core.states import TaskStatus
from app.db.base import Sessions
from app.embedded.ports import choose
from app.main import create_app
from app.services.changes import Changes
from tests.embedded_services import wait_for
from tests.factories import change

URL = "/api/v1/tasks"


@dataclass
class Live:
    """A server in this process, and requests that run beside the test."""

    changes: Changes
    client: httpx2.Client
    pool: ThreadPoolExecutor
    port: int

    def get(self, task_id: UUID, **params: Any) -> Future[httpx2.Response]:
        """Ask, and return once the server lets the request wait."""
        before = len(self.changes)
        headers = {"If-None-Match": params.pop("known")} if "known" in params else {}
        asked = self.pool.submit(self.client.get, f"{URL}/{task_id}", params=params, headers=headers)
        wait_for(lambda: len(self.changes) > before, "the request waits")
        return asked

    def tag(self, task_id: UUID) -> str:
        return str(self.client.get(f"{URL}/{task_id}").headers["ETag"])


@contextmanager
def serve(settings: Settings, headers: dict[str, str], **options: Any) -> Iterator[Live]:
    """`options` are uvicorn's, where they are to be others than ours."""
    app = create_app(settings)
    port = choose(())
    running = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, **OPTIONS | options))
    thread = Thread(target=running.run)
    thread.start()
    changes: Changes = app.state.services.changes
    try:
        wait_for(lambda: running.started and changes.connected, "the server runs and listens")
        client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30)
        with client, ThreadPoolExecutor(4) as pool:
            try:
                yield Live(changes, client, pool, port)
            finally:
                changes.end_waits()
    finally:
        running.should_exit = True
        thread.join()


def cancel(sessions: Sessions, task_id: UUID) -> None:
    change(sessions, task_id, status=TaskStatus.CANCELLED, finished_at=func.now(), lease_until=None, stage=None)


Event = dict[str, str]


def read(lines: Iterator[str]) -> Iterator[Event]:
    """The events of a stream, without its comments."""
    event: Event = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value
        elif event:
            yield event
            event = {}
