"""Six uploads of one picture at once, in a worker with two children: the network runs once."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from tests.e2e.conftest import Deployment, upload, wait_done
from tests.embedded_services import wait_for
from tests.pictures import encoded, subject

pytestmark = pytest.mark.xdist_group("e2e")

UPLOADS = 6


def stages(deployment: Deployment, tasks: list[UUID]) -> list[dict[str, float]]:
    """Of those that the children have written down."""
    lines = (deployment.settings.log_dir / "metrics.log").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    return [line["stages"] for line in told if line["task_id"] in set(map(str, tasks))]


def test_the_network_runs_once_and_for_other_options_not_at_all(deployment: Deployment) -> None:
    wait_for(lambda: deployment.health()["details"]["workers"]["online"] > 1, "both children are warm", every=0.2)
    data = encoded(subject(640, 480))
    with deployment.account() as client, ThreadPoolExecutor(UPLOADS) as pool:
        tasks = [sent.result() for sent in [pool.submit(upload, client, data) for _ in range(UPLOADS)]]
        answer = client.post(f"/api/v1/tasks/{tasks[0]}/render", json={"background": "navy", "format": "jpg"})
        tasks.append(UUID(answer.json()["task_id"]))
        assert {task["status"] for task in wait_done(client, *tasks)} == {"completed"}
    wait_for(lambda: len(stages(deployment, tasks)) == len(tasks), "the children have written down all")
    assert sum("inferring" in took for took in stages(deployment, tasks)) == 1
