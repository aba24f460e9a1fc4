"""`quickbg remove`: many pictures in flight, none of which can stop the others."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from app.core.errors import AppError
from app.shell.client import Client, Stopped, Tokens
from app.shell.display import Watch
from app.shell.errors import FileProblem
from app.shell.targets import Failure, Job

IN_FLIGHT = 4  # enough to keep the workers of a small machine busy while others upload


def remove(
    address: str, tokens: Tokens, jobs: Sequence[Job], options: Mapping[str, str], watch: Watch
) -> list[Failure]:
    """Have every picture done; returns those that failed, in the order they were named.

    Ctrl-C ends all waits; no file is left half written.
    """
    stop = threading.Event()
    client = Client(address, tokens, stop)
    pool = ThreadPoolExecutor(IN_FLIGHT)
    try:
        futures = {pool.submit(_one, client, job, options, watch): job for job in jobs}
        for future in as_completed(futures):
            future.exception()
        failures = [future.result() for future in futures]
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        client.close()
    return [failure for failure in failures if failure is not None]


def _one(client: Client, job: Job, options: Mapping[str, str], watch: Watch) -> Failure | None:
    watch.begun(job.source)
    written = None
    try:
        _cut_out(client, job, options, watch)
        written = job.target
    except Stopped:
        raise
    except AppError as error:
        return Failure(job.source, str(error))
    except Exception as error:  # a fault of ours with one picture must not take the others along
        return Failure(job.source, f"Unexpected {type(error).__name__}: {error}")
    finally:
        watch.ended(job.source, written)
    return None


def _cut_out(client: Client, job: Job, options: Mapping[str, str], watch: Watch) -> None:
    task_id = client.submit(job.source, options)
    task = client.wait(task_id, lambda view: watch.changed(job.source, view))
    if task.status != "completed":
        raise FileProblem(task.error or f"The task has {task.status}")
    client.download(task_id, job.target, force=job.force)
