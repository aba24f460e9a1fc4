"""What the processes of a real deployment count, and that it outlives them."""

from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.db.base import make_sessions
from tests.conftest import make_environment, make_user
from tests.e2e.conftest import deploy, upload, wait_done
from tests.embedded_services import RunningServices, wait_for
from tests.factories import make_task, row
from tests.pictures import encoded, subject

pytestmark = pytest.mark.xdist_group("e2e")


def scraped(url: str) -> dict[str, float]:
    """Every sample, by its name and its labels' values."""
    families = text_string_to_metric_families(httpx2.get(f"{url}/metrics").text)
    return {" ".join([s.name, *(s.labels[k] for k in sorted(s.labels))]): s.value for f in families for s in f.samples}


def test_what_processes_counted_outlives_them(services: RunningServices, small_model: str, tmp_path: Path) -> None:
    """One task by the usual way, and one that nobody but the sweeper rings for and whose original is not there."""
    environment = make_environment(services, "metrics_test", tmp_path) | {
        "REDIS_URL": services.env["REDIS_URL"].removesuffix("/0") + "/6",
        "MODEL_PATH": small_model,
        "WORKER_CONCURRENCY": "1",
        "LEASE_SECONDS": "5",
    }
    with deploy(environment, services) as deployment:
        with deployment.account() as client:
            (done,) = wait_done(client, upload(client, encoded(subject(300, 200))))
        sessions = make_sessions(deployment.engine)
        lonely = make_task(sessions, make_user(sessions).id, age=60)
        wait_for(lambda: row(sessions, lonely).status == "failed", "the other one is over")
        deployment.stop("worker")
        deployment.stop("sweeper")
        wait_for(
            lambda: scraped(deployment.url)["quickbg_rings_total api first"] == 1, "the API has written", every=0.2
        )
        found = scraped(deployment.url)
    assert found[f"quickbg_tasks_ended_total {done['error_code'] or ''} {done['status']}"] == 1
    assert found["quickbg_tasks_ended_total original_missing failed"] == 1
    assert (found["quickbg_claims_total"], found["quickbg_inferences_total"]) == (2, 1)
    assert found["quickbg_rings_total sweeper first"] == 1
    assert (found["quickbg_workers_online"], found["quickbg_sweeper_last_tick_seconds"]) == (0, float("inf"))
