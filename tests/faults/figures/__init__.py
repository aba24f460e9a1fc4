"""Figures of single faults, one at a time: what is promised in `docs/reliability.md`, measured.

`./scripts/quickbg chaos figures [NAME ...]` prints one line each and ends with 1 when a bound was missed.
"""

import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from uuid import UUID

from sqlalchemy import text

from tests.embedded_services import wait_for
from tests.faults.client import Client, Upload
from tests.faults.stack import AWAY, SERVICES, Stack, stack

OVER = "finished_at IS NOT NULL"


@dataclass(frozen=True)
class Figure:
    """What was measured, and whether it is within its bound."""

    said: str
    good: bool


@contextmanager
def service(*, real: bool = False, through: Collection[str] = frozenset(SERVICES), **settings: str) -> Iterator[Stack]:
    """A whole service in a folder of its own, at work."""
    folder = Path(tempfile.mkdtemp(prefix="quickbg-figures-"))
    folder.chmod(0o711)  # the database may run as another user
    try:
        with stack(folder, real=real, through=through, away=AWAY, **settings) as made:
            made.up()
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def client(made: Stack, accounts: int = 1) -> Iterator[Client]:
    people = [made.account() for _ in range(accounts)]
    sender = Client(lambda: made.url, people, f"figure-{time.monotonic_ns()}", timeout=20)
    try:
        yield sender
    finally:
        sender.close()


def send(sender: Client, number: int, request_id: str | None = None) -> Upload:
    return sender.send(sender.begin(number, request_id))


def count(made: Stack, where: str = "true") -> int:
    return int(number(made, f"SELECT count(*) FROM tasks WHERE {where}"))  # noqa: S608 - our own words


def ask(made: Stack, sql: str, **values: object) -> Sequence[Sequence[object]]:
    with made.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql), values)]


def number(made: Stack, sql: str, **values: object) -> float:
    """One number; no row and NULL are 0."""
    found = ask(made, sql, **values)
    return float(str(found[0][0])) if found and found[0][0] is not None else 0.0


def wait_count(made: Stack, where: str, number: int, *, seconds: float, every: float = 0.05) -> None:
    wait_for(lambda: count(made, where) >= number, f"{number} tasks: {where}", seconds=seconds, every=every)


def wait_logged(made: Stack, name: str, event: str, times: int, *, seconds: float) -> None:
    log = made.log(name)
    wait_for(lambda: log.read_text().count(event) >= times, f"{event} is logged {times} times", seconds=seconds)


def wait_over(made: Stack, seconds: float) -> float:
    """Until every task has ended; how long that took."""
    begun = time.monotonic()
    wait_for(lambda: count(made, f"NOT ({OVER})") == 0, "every task is over", seconds=seconds, every=0.1)
    return time.monotonic() - begun


def completed_once(made: Stack) -> bool:
    """Every task is completed, and was just once."""
    twice = "SELECT count(*) FROM (SELECT task_id FROM task_events WHERE status = 'completed' AND from_status <> status"
    return count(made, "status <> 'completed'") == 0 and number(made, f"{twice} GROUP BY 1 HAVING count(*) > 1) d") == 0


def share(values: Sequence[float], of: float) -> float:
    return sorted(values)[min(len(values) - 1, int(of * len(values)))] if values else float("nan")


def milliseconds(values: Sequence[float]) -> str:
    return f"p50 {median(values) * 1000:.0f} ms, p99 {share(values, 0.99) * 1000:.0f} ms" if values else "nothing"


def ids(uploads: Sequence[Upload]) -> list[UUID]:
    return [upload.task_id for upload in uploads if upload.task_id is not None]
