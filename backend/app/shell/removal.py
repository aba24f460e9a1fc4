"""`quickbg remove`: many pictures in flight, none of which can stop the others."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.core.errors import AppError
from app.shell.client import Client, Stopped
from app.shell.display import Watch
from app.shell.errors import TaskProblem, UsageProblem
from app.shell.sources import Failure, Url
from app.shell.targets import Job

FEWEST, MOST = 4, 12
"""In flight at once: enough to keep a small machine busy while others upload; no more than the service takes of one
account at a time (`STORING` in `api.v1.uploads`)."""


def in_flight(health: Mapping[str, Any] | None) -> int:
    """How many pictures suit a service: two for each worker, by what its health says."""
    with suppress(KeyError, TypeError, ValueError):
        return min(MOST, max(FEWEST, 2 * int((health or {})["details"]["workers"]["online"])))
    return FEWEST


def remove(
    client: Client, jobs: Sequence[Job], options: Mapping[str, str], watch: Watch, at_once: int = FEWEST
) -> list[Failure]:
    """Have every picture done; returns those that failed, in the order they were named.

    It is the client's last work. Ctrl-C ends all waits; no file is left half written, and the same call goes on where
    this one stopped.

    Raises:
        UsageProblem: the service refuses the options.
    """
    pool = ThreadPoolExecutor(at_once)
    try:
        futures = [pool.submit(one, client, job, options, watch) for job in jobs]
        for future in as_completed(futures):
            if isinstance(problem := future.exception(), UsageProblem):
                raise problem
        failures = [future.result() for future in futures]
    finally:
        client.stop.set()
        pool.shutdown(cancel_futures=True)
        client.close()
    return [failure for failure in failures if failure is not None]


def one(client: Client, job: Job, options: Mapping[str, str], watch: Watch) -> Failure | None:
    """Have one picture done; why not, else.

    Raises:
        Stopped: by Ctrl-C.
        UsageProblem: the service refuses the options.
    """
    watch.begun(job.source)
    written = None
    try:
        written = _cut_out(client, job, options, watch)
    except (Stopped, UsageProblem):
        raise
    except AppError as error:
        return Failure(job.source, str(error))
    except Exception as error:  # a fault of ours with one picture must not take the others along
        return Failure(job.source, f"Unexpected {type(error).__name__}: {error}")
    finally:
        watch.ended(job.source, written)
    return None


def _cut_out(client: Client, job: Job, options: Mapping[str, str], watch: Watch) -> Path:
    # With --force a URL is fetched anew: what lies there may have changed.
    sent = client.submit(job.source, options, anew=job.force and isinstance(job.source, Url))
    try:
        return _bring(client, sent.task_id, job, watch)
    except TaskProblem:
        if not sent.replayed:
            raise
    # An earlier call's has failed, or is kept no longer: whoever calls again wants another try.
    sent = client.submit(job.source, options, anew=True)
    return _bring(client, sent.task_id, job, watch)


def _bring(client: Client, task_id: str, job: Job, watch: Watch) -> Path:
    task = client.wait(task_id, lambda view: watch.changed(job.source, view))
    if task.status != "completed":
        raise TaskProblem(task.error or f"The task has {task.status}")
    return client.download(task_id, job)
