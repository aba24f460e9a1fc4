"""The whole service, with a small network, and a customer of it who has clients of remove.bg."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.pictures import TO_SEE, WALLPAPER
from tests.clients.running import Shop
from tests.conftest import make_environment
from tests.e2e.conftest import Deployment, deploy, small_model
from tests.embedded_services import RunningServices

__all__ = ["small_model"]


@pytest.fixture(scope="session")
def service(
    services: RunningServices, small_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Of its own: its worker is killed."""
    environment = make_environment(services, "clients_test", tmp_path_factory.mktemp("clients"))
    environment |= {
        "REDIS_URL": environment["REDIS_URL"].removesuffix("/0") + "/5",
        "MODEL_PATH": small_model,
        "WORKER_CONCURRENCY": "1",
        "OUTBOUND_ALLOWED_NETWORKS": "127.0.0.0/8",
        "LEASE_SECONDS": "5",
        "RATE_LIMIT_MEGAPIXELS_PER_MINUTE": "6000",
    }
    with deploy(environment, services) as made:
        yield made


@pytest.fixture
def shop(service: Deployment, tmp_path: Path) -> Iterator[Shop]:
    service.wait_healthy()
    (tmp_path / "ball.png").write_bytes(TO_SEE)
    (tmp_path / "wall.png").write_bytes(WALLPAPER)
    (tmp_path / "note.png").write_text("This is no picture.")
    with service.account() as client:
        made = client.post("/api/v1/api-keys", json={"name": "shop", "scopes": ["read", "write"]})
        assert made.status_code == 201, made.text
        yield Shop(service, made.json()["key"], client.headers["Authorization"], tmp_path)
