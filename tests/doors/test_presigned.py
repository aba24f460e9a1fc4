"""The addresses of results: signed for the host that clients reach, for a while, and worth nothing without that."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func

from app.core.config import Settings
from app.core.options import ResultFormat
from app.core.states import TaskStatus
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from app.storage.base import result_key
from app.storage.s3 import S3Store
from tests.api.conftest import bearer
from tests.factories import make_task
from tests.pictures import encoded

PICTURE = encoded(kind="PNG")


@pytest.fixture
def client(settings: Settings, sessions: Sessions, user: User) -> Iterator[TestClient]:
    """The owner's, of a server whose clients know the object store by another name than it does."""
    public = (settings.s3_endpoint_url or "").replace("127.0.0.1", "localhost")
    assert "localhost" in public
    app = create_app(settings.model_copy(update={"s3_public_endpoint_url": public}))
    with TestClient(app, headers=bearer(settings, user.id), follow_redirects=False) as client:
        yield client


@pytest.fixture
def task_id(sessions: Sessions, user: User, s3_store: S3Store) -> UUID:
    key = result_key(user.id, uuid4(), 1, ResultFormat.PNG)
    s3_store.put(key, io.BytesIO(PICTURE), "image/png")
    over: dict[str, Any] = {
        "status": TaskStatus.COMPLETED,
        "finished_at": func.now(),
        "progress": 100,
        "result_key": key,
    }
    return make_task(sessions, user.id, **over)


def test_a_result_is_to_be_had_by_its_signed_address_alone(client: TestClient, task_id: UUID) -> None:
    task = client.get(f"/api/v1/tasks/{task_id}").json()
    led = client.get(f"/api/v1/tasks/{task_id}/result").headers["Location"]
    for signed in (task["presigned_url"], led):
        assert urlsplit(signed).hostname == "localhost"
        answer = httpx2.get(signed)
        assert (answer.status_code, answer.content) == (200, PICTURE)
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-disposition"].startswith('attachment; filename="photo-cutout.png"')
        for other in (
            signed.partition("?")[0],
            signed.replace("localhost", "127.0.0.1"),
            signed.replace("attachment", "inline"),
            signed.replace("image%2Fpng", "text%2Fhtml"),
            signed.replace("X-Amz-Expires=3600", "X-Amz-Expires=86400"),
            signed[:-4] + ("0000" if signed[-4:] != "0000" else "1111"),
        ):
            assert other != signed
            assert httpx2.get(other).status_code == 403, other
    assert httpx2.get(task["result_url"]).status_code == 403


def test_an_address_ends(client: TestClient, task_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    def signed(seconds_ago: float) -> str:
        then = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: then)
        return str(client.get(f"/api/v1/tasks/{task_id}").json()["presigned_url"])

    assert httpx2.get(signed(3500)).status_code == 200
    assert httpx2.get(signed(3700)).status_code == 403
