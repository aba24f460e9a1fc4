"""Six uploads of one picture at once, in a worker with two children: the network runs once."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import func, select

from app.db.base import make_sessions
from app.db.models import Counter
from app.services.counting import INFERENCES, TASKS_ENDED
from tests.e2e.conftest import Deployment, upload, wait_done
from tests.embedded_services import wait_for
from tests.pictures import encoded, subject

pytestmark = pytest.mark.xdist_group("e2e")

UPLOADS = 6


def counted(deployment: Deployment, name: str) -> float:
    with make_sessions(deployment.engine).begin() as session:
        return session.scalar(select(func.sum(Counter.value)).where(Counter.name == name)) or 0


def test_the_network_runs_once_and_for_other_options_not_at_all(deployment: Deployment) -> None:
    wait_for(lambda: deployment.health()["details"]["workers"]["online"] > 1, "both children are warm", every=0.2)
    runs, ended = counted(deployment, INFERENCES), counted(deployment, TASKS_ENDED)
    data = encoded(subject(640, 480))
    with deployment.account() as client, ThreadPoolExecutor(UPLOADS) as pool:
        tasks = [sent.result() for sent in [pool.submit(upload, client, data) for _ in range(UPLOADS)]]
        answer = client.post(f"/api/v1/tasks/{tasks[0]}/render", json={"background": "navy", "format": "jpg"})
        tasks.append(UUID(answer.json()["task_id"]))
        assert {task["status"] for task in wait_done(client, *tasks)} == {"completed"}
    wait_for(lambda: counted(deployment, TASKS_ENDED) >= ended + len(tasks), "the children have written down all")
    assert counted(deployment, INFERENCES) == runs + 1
