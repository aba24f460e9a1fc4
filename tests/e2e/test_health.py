"""The health matrix tells the truth soon: of what stops, of what is killed, and when it is back."""

import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Deployment
from tests.embedded_services import wait_for

# One deployment at a time is enough for two cores.
pytestmark = pytest.mark.xdist_group("e2e")

CHECKS = {"postgres": "database", "valkey": "redis", "seaweedfs": "s3", "worker": "workers", "sweeper": "sweeper"}
STATUS = {"postgres": "unhealthy", "seaweedfs": "unhealthy"}


def acts(
    deployment: Deployment, part: str
) -> tuple[Callable[[str], None], Callable[[str], None], Callable[[str], None]]:
    """How the part is stopped, killed and started again."""
    owner = deployment if part in {"worker", "sweeper"} else deployment.services
    return owner.stop, owner.kill, owner.start


@pytest.mark.parametrize("part", CHECKS)
@pytest.mark.parametrize("way", ["stop", "kill"])
def test_the_matrix_follows(deployment: Deployment, part: str, way: str) -> None:
    stop, kill, start = acts(deployment, part)
    deployment.wait_healthy()
    if way == "stop":
        stop(part)
    else:
        kill(part)
    begun = time.monotonic()
    wait_for(
        lambda: deployment.health()["checks"].get(CHECKS[part]) in {"error", "timeout"},
        f"the matrix says that {part} is gone",
        seconds=5 if way == "stop" else 25,
    )
    body = deployment.health()
    assert body["status"] == STATUS.get(part, "degraded"), f"after {time.monotonic() - begun:.1f} s"
    start(part)
    wait_for(lambda: deployment.health()["status"] == "healthy", "all is well again", seconds=60)
