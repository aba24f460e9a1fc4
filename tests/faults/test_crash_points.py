"""Every place where the code says that it may die: it dies there once, under a picture that must come out all the same.

The places are those named by `failpoint`; one that is not in the table below fails.
"""

import ast
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.core.config import PROJECT_ROOT
from app.core.states import Stage, TaskStatus
from app.db import tasks
from app.db.models import Task, TaskEvent, WorkerHeartbeat
from tests.embedded_services import wait_for
from tests.faults import checker
from tests.faults.client import Client, Upload
from tests.faults.expectation import expectation
from tests.faults.proxy import HEALTHY, Toxic
from tests.faults.stack import Stack, stack

pytestmark = pytest.mark.xdist_group("faults")

LEASE = 5
MARGIN = 3.0  # seconds, for a machine with two cores and many processes that start


@dataclass(frozen=True)
class Row:
    """`process` dies. The picture is completed by attempt `attempts`; in a worker, what an attempt leaves is taken back
    within a lease and two ticks of the sweeper."""

    process: str
    attempts: int
    repaired: str


ROWS = {
    "upload_intended": Row("api", 1, "the client asks again, when the dead request's key is free"),
    "upload_stored": Row("api", 1, "likewise; the object of the first request is cleaned up"),
    "upload_accepted": Row("api", 1, "the client asks again and is answered with the task that there is"),
    "bell_marked": Row("api", 1, "the sweeper rings again, because a message is missing"),
    "sweep_committed": Row("sweeper", 1, "the next tick rings again, because a message is missing"),
    "claimed": Row("worker", 2, "the task is taken back, and its next attempt begins anew"),
    "downloaded": Row("worker", 2, "likewise"),
    "decoding": Row("worker", 2, "likewise"),
    "inferring": Row("worker", 2, "likewise"),
    "refining": Row("worker", 2, "likewise"),
    "encoding": Row("worker", 2, "likewise"),
    "uploading": Row("worker", 2, "likewise"),
    "result_stored": Row("worker", 2, "likewise; the object of the first attempt is cleaned up"),
    "completed": Row("worker", 1, "nothing is left to do"),
}


def of_process(process: str) -> list[str]:
    return [name for name, row in ROWS.items() if row.process == process]


def places() -> dict[str, Path]:
    """The failpoints of the source, and their files. Those that are not named on the spot are the stages."""
    found = {}
    for path in sorted((PROJECT_ROOT / "backend" / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint"):
                continue
            name = node.args[0]
            if isinstance(name, ast.Constant):
                found[str(name.value)] = path
            else:
                assert path.name == "processing.py", f"{path} has a failpoint without a name"
                # An attempt is downloading from its claim on; it enters the other stages one by one.
                found |= dict.fromkeys((str(stage) for stage in Stage if stage is not Stage.DOWNLOADING), path)
    return found


def test_each_place_has_its_row() -> None:
    elsewhere = {"webhook_answered"}  # tests/webhooks/test_sweeper.py
    assert sorted(places()) == sorted({*ROWS, *elsewhere})


class Crashes:
    """One stack for all rows. Each process has its places armed from the start: those of a worker go off under the
    picture that bears their name, those of the others when they are told to."""

    def __init__(self, running: Stack, folder: Path) -> None:
        self.stack = running
        self._folder = folder
        self.client = Client(lambda: running.url, [running.account()], "crash")
        self._pool = ThreadPoolExecutor(len(ROWS))
        self._sent: dict[str, Future[Upload]] = {}
        for name in ROWS:
            if ROWS[name].process != "worker":
                self._mark(name).touch()

    def _mark(self, name: str) -> Path:
        return self._folder / f"{name}.0"

    def arm(self, name: str) -> None:
        self._mark(name).unlink()

    def went_off(self, name: str) -> bool:
        return self._mark(name).exists()

    def send(self, name: str) -> Future[Upload]:
        upload = self.client.begin(len(self._sent), f"crash-{name}")
        self._sent[name] = self._pool.submit(self.client.send, upload)
        return self._sent[name]

    def sent(self, name: str) -> Future[Upload]:
        return self._sent[name]

    def task(self, name: str) -> Task | None:
        with self.stack.sessions.begin() as session:
            return session.scalar(select(Task).where(Task.request_id == f"crash-{name}"))

    def events(self, name: str) -> list[TaskEvent]:
        task = self.task(name)
        assert task is not None
        with self.stack.sessions.begin() as session:
            return list(tasks.history(session, task.id))

    def wait_completed(self, name: str) -> Task:
        def is_over() -> bool:
            task = self.task(name)
            return task is not None and task.finished_at is not None

        wait_for(is_over, f"the picture of {name} is finished", every=0.1)
        task = self.task(name)
        assert task is not None
        assert task.status == TaskStatus.COMPLETED
        return task

    def wait_calm(self) -> None:
        """Until the workers have caught up."""
        for name in list(self._sent):
            self.wait_completed(name)

    def close(self) -> None:
        self.client.giving_up.set()
        self._pool.shutdown()
        self.client.close()


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashes]:
    folder = tmp_path_factory.mktemp("crashes")
    marks = folder / "failpoints"
    marks.mkdir()
    with stack(folder, away=0.2, LEASE_SECONDS=str(LEASE), FAILPOINTS_DIR=str(marks)) as running:
        for process in ("api", "sweeper"):
            running.own[process] = {"FAILPOINTS": ";".join(f"{name}=kill*1" for name in of_process(process))}
        under = (f"{name}@crash-{name}=kill*1" for name in of_process("worker"))
        running.own["worker"] = {"FAILPOINTS": ";".join(under)}
        made = Crashes(running, marks)
        running.up()
        try:
            # Their repair is mostly waiting, which they can do at the same time.
            for sent in [made.send(name) for name in of_process("worker")]:
                sent.result(30)
            yield made
        finally:
            made.close()


@pytest.mark.parametrize("name", of_process("worker"))
def test_a_child_dies(crashes: Crashes, name: str) -> None:
    upload = crashes.sent(name).result()
    done = crashes.wait_completed(name)
    assert crashes.went_off(name)
    attempts = ROWS[name].attempts
    assert (done.id, done.attempt, done.retries) == (upload.task_id, attempts, attempts - 1)
    events = crashes.events(name)
    assert sum(event.status == TaskStatus.COMPLETED for event in events) == 1
    for earlier, later in pairwise(events):
        if later.status == TaskStatus.RETRYING:
            bound = LEASE + 2 * crashes.stack.settings.timing.sweep_interval
            assert (later.at - earlier.at).total_seconds() < bound + MARGIN


@pytest.mark.parametrize("name", of_process("api"))
def test_the_api_dies(crashes: Crashes, name: str) -> None:
    crashes.wait_calm()
    crashes.arm(name)
    sent = crashes.send(name)
    wait_for(lambda: crashes.went_off(name), "the API dies")
    crashes.stack.wait_ready()
    # Whoever died with a key in its hand keeps it for a minute.
    crashes.stack.age_locks()
    upload = sent.result(30)
    assert (upload.outcome, len(upload.answers)) == ("ok", 1)
    done = crashes.wait_completed(name)
    assert (done.id, done.attempt, done.retries) == (upload.task_id, ROWS[name].attempts, 0)
    timing = crashes.stack.settings.timing
    queued, claimed = crashes.events(name)[:2]
    rung_again = timing.redispatch_after + 2 * timing.sweep_interval
    assert (claimed.at - queued.at).total_seconds() < rung_again + MARGIN


@pytest.mark.parametrize("name", of_process("sweeper"))
def test_the_sweeper_dies(crashes: Crashes, name: str) -> None:
    crashes.wait_calm()
    crashes.stack.stop("sweeper")
    crashes.stack.proxies.set("valkey", Toxic(refuse=True))
    upload = crashes.send(name).result(30)

    def is_due() -> bool:
        """The API could not ring, and it is the sweeper's turn."""
        grace = func.now() - timedelta(seconds=crashes.stack.settings.timing.dispatch_grace)
        unrung = select(Task.id).where(Task.id == upload.task_id, Task.dispatched_at.is_(None), Task.updated_at < grace)
        with crashes.stack.sessions.begin() as session:
            return session.scalar(unrung) is not None

    wait_for(is_due, "nobody has rung")
    crashes.stack.proxies.set("valkey", HEALTHY)
    crashes.arm(name)
    crashes.stack.start("sweeper")
    wait_for(lambda: crashes.went_off(name), "the sweeper dies")
    marked = crashes.task(name)
    assert marked is not None
    assert marked.dispatched_at is not None
    done = crashes.wait_completed(name)
    assert (done.id, done.attempt, done.retries) == (upload.task_id, ROWS[name].attempts, 0)


def test_the_children_are_those_that_work(crashes: Crashes) -> None:
    """Whoever kills a child hits one of them, and not a helper of Python's."""

    def warm() -> list[int]:
        worker = WorkerHeartbeat
        alive = (worker.kind == "worker") & (worker.beat_at > func.now() - timedelta(seconds=3))
        with crashes.stack.sessions.begin() as session:
            return sorted(int(each.rpartition(":")[2]) for each in session.scalars(select(worker.id).where(alive)))

    wait_for(lambda: warm() == crashes.stack.children() != [], "only the children beat", every=0.2)


def test_nothing_is_lost_and_nothing_is_left(crashes: Crashes) -> None:
    """Last of all: what all of it together has left behind."""
    crashes.wait_calm()
    crashes.stack.down()
    crashes.stack.age_leftovers()
    running, record = crashes.stack, crashes.client.record
    expected = expectation(running.settings)
    assert list(checker.check(running.settings, running.sessions, running.store, record, expected)) == []
