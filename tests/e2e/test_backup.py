"""A backup of the service at work, and what another machine makes of it."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx2
import psycopg
import pytest

from app.core.config import Settings
from app.core.security import create_access_token
from app.embedded.layout import Layout
from app.embedded.ports import choose
from app.embedded.state import State, load
from app.shell.weights import settings_of
from app.storage.s3 import S3Store
from tests.e2e.conftest import task, upload, wait_done
from tests.embedded_services import wait_for
from tests.pictures import encoded

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("e2e")]

BEFORE = 3  # pictures that are taken in before the backup begins


def quickbg(name: str, *arguments: object, data: Path) -> str:
    command = [sys.executable, "-P", "-m", "app.cli", name, *map(str, arguments), "--data", str(data)]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(layout: Layout) -> Iterator[tuple[State, Settings]]:
    quickbg("up", "--detach", "--port", choose(()), data=layout.data)
    try:
        state = load(layout)
        assert state is not None
        yield state, settings_of(layout, state)
    finally:
        quickbg("down", data=layout.data)


def client_of(state: State) -> httpx2.Client:
    token = create_access_token(state.local_user_id, secret=state.secret_key, ttl_seconds=900)
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.Client(base_url=f"http://127.0.0.1:{state.api_port}", headers=headers, timeout=30)


@contextmanager
def uploading(client: httpx2.Client) -> Iterator[list[UUID]]:
    """More and more pictures, until the end."""
    taken: list[UUID] = []
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.5):  # the worker is to keep up roughly
            taken.append(upload(client, encoded() + bytes([len(taken) % 256])))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield taken
    finally:
        ended.set()
        thread.join()


def objects(settings: Settings) -> dict[str, bytes]:
    """Each that a row names; a missing one is an error."""
    store = S3Store(settings)
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        rows = connection.execute(
            "SELECT key FROM uploads WHERE status = 'stored'"
            " UNION SELECT result_key FROM tasks WHERE result_key IS NOT NULL"
        )
        return {key: store.get(key) for (key,) in rows}


def test_a_backup_while_pictures_come_in(tmp_path: Path, small_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_PATH", small_model)
    origin, copy, archive = Layout.at(tmp_path / "origin"), Layout.at(tmp_path / "copy"), tmp_path / "backup.tar"
    with running(origin) as (state, settings), client_of(state) as client:
        with uploading(client) as taken:
            wait_for(lambda: len(taken) >= BEFORE, "some pictures are taken in")
            before = list(taken)
            quickbg("backup", archive, data=origin.data)
            after = len(taken)
            wait_for(lambda: len(taken) > after, "one more is taken in")
        wait_done(client, *before)
        results = {task_id: task(client, task_id) for task_id in before}
        all_objects = objects(settings)

    assert "objects as they were at" in quickbg("restore", archive, data=copy.data)
    with running(copy) as (state, settings), client_of(state) as client:
        found = objects(settings)
        for task_id in before:  # what was at work comes back by itself
            wait_done(client, task_id)
            assert task(client, task_id)["confidence"] == pytest.approx(results[task_id]["confidence"])
            answer = client.get(f"/api/v1/tasks/{task_id}/result", follow_redirects=True)
            assert answer.content.startswith(b"\x89PNG")
        originals = {key for key in found if key.startswith("originals/")}
        assert len(originals) >= BEFORE
        assert {key: found[key] for key in originals} == {key: all_objects[key] for key in originals}
        listed = client.get("/api/v1/tasks", params={"limit": 100}).json()
        assert len(originals) == len(listed["tasks"])
