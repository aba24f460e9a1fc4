"""What processes count: added up in memory, written down together, and never lost to a database that is away."""

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core.config import PROJECT_ROOT, Settings
from app.core.metrics import MetricsLog
from app.core.states import Stage
from app.db import counters, tasks
from app.db.base import Sessions, make_engine, make_sessions
from app.db.models import Counter, User
from app.outbound.client import Outbound
from app.services.counting import (
    CLAIMS,
    CLAIMS_REFUSED,
    FAMILIES,
    FENCED,
    INFERENCES,
    REAPS,
    RINGS,
    STAGE_SECONDS,
    TASKS_ENDED,
    Bookkeeping,
    Counts,
)
from app.services.fetching import Fetching
from app.services.mattes import Mattes
from app.services.processing import Processing
from app.services.pulse import Pulse
from app.services.recovery import Recovery
from app.storage.memory import MemoryStore
from app.tasks.publishing import BackgroundBell, Publisher
from tests.embedded_services import wait_for
from tests.factories import TIMING, Silence, ago, change, claim, make_task, row
from tests.pictures import encoded, subject
from tests.services.test_processing import DiscEngine

FOREVER = 3600.0
COUNT_A_LOT = """
import random, sys
from app.db.base import make_engine, make_sessions
from app.services.counting import Counts
sessions = make_sessions(make_engine(sys.argv[1]))
counts = Counts()
print('ready', flush=True)
sys.stdin.readline()
for _ in range(60):
    for number in random.sample(range(40), 40):
        counts.add(f"counter_{number}", labelled=str(number % 7))
    counts.flush(sessions)
"""


def total(sessions: Sessions, name: str, **labels: str) -> float:
    with sessions.begin() as session:
        return counters.totals(session).get((name, tuple(sorted(labels.items()))), 0)


def flushed(counts: Counts, sessions: Sessions) -> dict[str, float]:
    """What a process has counted, as it is in the database afterwards; names with their labels' values."""
    counts.flush(sessions)
    with sessions.begin() as session:
        found = counters.totals(session)
    return {" ".join([name, *(value for _, value in labels)]).strip(): value for (name, labels), value in found.items()}


@contextmanager
def bookkeeping(counts: Counts, sessions: Sessions, seconds: float) -> Iterator[None]:
    books = Bookkeeping(counts, sessions, seconds)
    books.start()
    yield
    books.close()


def test_what_is_written_down_is_added_to_what_is_there(sessions: Sessions) -> None:
    counts = Counts()
    for _ in range(3):
        counts.add(CLAIMS)
        counts.add(REAPS, 2, code="oom")
        counts.flush(sessions)
    assert flushed(counts, sessions) == {CLAIMS: 3, f"{REAPS} oom": 6}


def test_threads_lose_nothing(sessions: Sessions) -> None:
    counts = Counts()

    def count() -> None:
        for number in range(2000):
            counts.add(CLAIMS)
            if number % 500 == 0:
                counts.flush(sessions)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert flushed(counts, sessions) == {CLAIMS: 8000}


def test_two_processes_add_up(sessions: Sessions, settings: Settings) -> None:
    command = [sys.executable, "-c", COUNT_A_LOT, settings.sqlalchemy_url]
    processes = [
        subprocess.Popen(
            command, cwd=PROJECT_ROOT / "backend", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert said == ["", ""]  # no count had to wait for the next time
    assert {total(sessions, f"counter_{n}", labelled=str(n % 7)) for n in range(40)} == {120.0}


def test_sums_are_always_locked_in_the_same_order(sessions: Sessions) -> None:
    def add(session: Session, *names: str) -> None:
        counters.add(session, dict.fromkeys(((name, ()) for name in names), 1))

    def add_both() -> None:
        with sessions.begin() as session:
            add(session, "second", "first")

    def is_waiting() -> bool:
        waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%counters%'")
        with sessions.begin() as session:
            return bool(session.scalar(waits))

    add_both()
    thread = threading.Thread(target=add_both)
    with sessions.begin() as holder:
        add(holder, "second")
        thread.start()
        wait_for(is_waiting, "the other one waits", seconds=5)
        with sessions.begin() as third:
            free = third.scalars(select(Counter.name).with_for_update(skip_locked=True)).all()
    thread.join()
    assert free == []
    assert (total(sessions, "first"), total(sessions, "second")) == (2, 3)


def test_what_cannot_be_written_stays_for_the_next_time(sessions: Sessions) -> None:
    nowhere = make_sessions(make_engine("postgresql+psycopg://a:b@127.0.0.1:9/c_test"))
    counts = Counts()
    counts.add(CLAIMS)
    counts.flush(nowhere)
    counts.add(CLAIMS)
    counts.flush(nowhere)
    assert flushed(counts, sessions) == {CLAIMS: 2}


def test_the_books_are_kept_by_themselves(sessions: Sessions) -> None:
    counts = Counts()
    with bookkeeping(counts, sessions, seconds=0.05):
        counts.add(CLAIMS)
        wait_for(lambda: total(sessions, CLAIMS) == 1, "the count is written down", seconds=5)


def test_a_clean_end_writes_the_rest(sessions: Sessions) -> None:
    counts = Counts()
    with bookkeeping(counts, sessions, FOREVER):
        counts.add(CLAIMS)
    assert total(sessions, CLAIMS) == 1


def test_a_histogram_counts_each_value_in_every_bucket_that_it_fits(sessions: Sessions) -> None:
    counts = Counts()
    for seconds in (0.02, 0.1, 5, 100):
        counts.observe(STAGE_SECONDS, seconds, stage="decoding")
    found = flushed(counts, sessions)
    buckets = {name.split()[1]: value for name, value in found.items() if name.startswith(f"{STAGE_SECONDS}_bucket")}
    assert buckets == {"0.03": 1, "0.1": 2, "0.3": 2, "1": 2, "3": 2, "10": 3, "30": 3, "+Inf": 4}
    assert found[f"{STAGE_SECONDS}_sum decoding"] == pytest.approx(105.12)


@given(st.dictionaries(st.text(), st.text()))
def test_any_label_is_read_as_it_was_written(labels: dict[str, str]) -> None:
    sorted_labels = tuple(sorted(labels.items()))
    assert counters._read(counters._written(sorted_labels)) == sorted_labels


def test_every_family_has_a_name_and_a_help_text_of_its_own() -> None:
    assert len({family.name for family in FAMILIES}) == len({family.help for family in FAMILIES}) == len(FAMILIES)


class Worker:
    """One worker's use case and what it counts."""

    def __init__(self, settings: Settings, sessions: Sessions, user: User, folder: Path) -> None:
        self.sessions, self.user = sessions, user
        self.counts, self.store, self.engine = Counts(), MemoryStore(), DiscEngine()
        self._processing = Processing(
            settings=settings,
            sessions=sessions,
            store=self.store,
            engine=self.engine,
            mattes=Mattes(sessions, self.store, "isnet-general-use"),
            fetching=Fetching(settings, sessions, self.store, Outbound(settings), Silence()),
            pulse=Pulse(sessions, "host:1", settings.timing),
            bell=Silence(),
            metrics=MetricsLog(folder),
            worker="host:1",
            counts=self.counts,
        )

    def process(self, task_id: UUID, data: bytes | None = None) -> None:
        data = encoded(subject(200, 160)) if data is None else data
        self.store.put(row(self.sessions, task_id).upload.key, io.BytesIO(data), "image/jpeg")
        self._processing.process(task_id)

    def counted(self) -> dict[str, float]:
        """Without the histogram."""
        found = flushed(self.counts, self.sessions)
        return {name: value for name, value in found.items() if not name.startswith(STAGE_SECONDS)}


@pytest.fixture
def worker(settings: Settings, sessions: Sessions, user: User, tmp_path: Path) -> Worker:
    return Worker(settings, sessions, user, tmp_path)


def test_a_completed_picture_is_counted_and_its_duplicate_refused(worker: Worker) -> None:
    task_id = make_task(worker.sessions, worker.user.id)
    worker.process(task_id)
    worker.process(task_id)
    assert worker.counted() == {CLAIMS: 1, INFERENCES: 1, f"{TASKS_ENDED}  completed": 1, CLAIMS_REFUSED: 1}
    for stage in Stage:
        assert total(worker.sessions, f"{STAGE_SECONDS}_bucket", stage=stage, le="+Inf") == 1
        assert 0 < total(worker.sessions, f"{STAGE_SECONDS}_sum", stage=stage) < 10


def test_a_failed_picture_is_counted_with_its_code(worker: Worker) -> None:
    task_id = make_task(worker.sessions, worker.user.id)
    worker.process(task_id, b"not a picture")
    code = row(worker.sessions, task_id).error_code
    assert worker.counted() == {CLAIMS: 1, f"{TASKS_ENDED} {code} failed": 1}


def test_a_fault_that_is_tried_again_ends_nothing(worker: Worker) -> None:
    def fault() -> None:
        raise MemoryError

    worker.engine.before = fault
    worker.process(make_task(worker.sessions, worker.user.id))
    assert worker.counted() == {CLAIMS: 1, INFERENCES: 1}


def test_an_attempt_that_loses_its_task_is_counted(worker: Worker) -> None:
    task_id = make_task(worker.sessions, worker.user.id)

    def cancel() -> None:
        with worker.sessions.begin() as session:
            assert tasks.cancel(session, task_id)

    worker.engine.before = cancel
    worker.process(task_id)
    assert worker.counted() == {CLAIMS: 1, INFERENCES: 1, FENCED: 1}


def test_the_sweeper_counts_what_it_takes_back_and_whom_it_rings_for(sessions: Sessions, user: User) -> None:
    lost, worn_out, unanswered = (make_task(sessions, user.id, age=60) for _ in range(3))
    exhausted = make_task(sessions, user.id, age=60, attempt=10)
    for task_id in (lost, worn_out):
        assert claim(sessions, task_id)
        change(sessions, task_id, lease_until=ago(1))
    change(sessions, worn_out, retries=3)
    change(sessions, unanswered, dispatched_at=ago(60))
    unrung = make_task(sessions, user.id, age=60)
    counts = Counts()
    rung: list[UUID] = []
    empty = {"interactive": 0, "bulk": 0}
    Recovery(sessions, TIMING, lambda: empty, lambda task_id, _: rung.append(task_id), counts).tick()
    assert (row(sessions, exhausted).error_code, set(rung)) == ("max_attempts", {unrung, unanswered})
    assert flushed(counts, sessions) == {
        f"{REAPS} worker_lost": 2,
        f"{REAPS} max_attempts": 1,
        f"{TASKS_ENDED} worker_lost failed": 1,
        f"{TASKS_ENDED} max_attempts failed": 1,
        f"{RINGS} sweeper first": 1,
        f"{RINGS} sweeper again": 1,
    }


def test_only_what_was_rung_is_counted(sessions: Sessions, user: User) -> None:
    def away(task_id: UUID, queue: str) -> None:
        raise ConnectionError

    make_task(sessions, user.id, age=60)
    counts = Counts()
    Recovery(sessions, TIMING, lambda: {"interactive": 0, "bulk": 0}, away, counts).tick()
    assert flushed(counts, sessions) == {}


def test_the_bell_says_who_rang(settings: Settings, sessions: Sessions, user: User) -> None:
    counts = Counts()
    publisher = Publisher(settings)
    bell = BackgroundBell(publisher, sessions, counts, by="worker")
    bell.start()
    task_id = make_task(sessions, user.id)
    bell.ring(task_id, "interactive")
    bell.ring(task_id, "interactive")  # marked already
    bell.close()
    publisher.close()
    assert flushed(counts, sessions) == {f"{RINGS} worker first": 1}
