"""How fast it answers while nothing is broken."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx2
import numpy as np
from PIL import Image
from sqlalchemy import text

from app.services.recovery import Recovery
from app.tasks.publishing import Publisher
from tests.faults.client import OPTIONS
from tests.faults.figures import Figure, ask, client, count, milliseconds, send, service, share, wait_over
from tests.faults.stack import Stack
from tests.pictures import encoded

HOP = """
SELECT extract(epoch FROM claimed.at - queued.at) FROM task_events queued JOIN task_events claimed USING (task_id)
JOIN tasks ON tasks.id = task_id
WHERE queued.from_status IS NULL AND claimed.status = 'processing' AND claimed.from_status = 'queued'
"""


def uploads(seconds: float = 60) -> Figure:
    """P1: a picture of one megabyte ten times a second."""
    noise = np.random.default_rng(1).integers(0, 255, (1280, 1280, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind="JPEG")
    with service(through=()) as made, client(made) as sender:
        spent, wrong = _regularly(
            10,
            seconds,
            lambda http: http.post(f"{made.url}/api/v1/uploads", files={"file": ("a.jpg", data)}, data=OPTIONS),
            sender.accounts[0][1],
            202,
        )
    good = not wrong and share(spent, 0.5) <= 0.06 and share(spent, 0.99) <= 0.3
    return Figure(f"POST of {len(data) / 1e6:.2f} MB at 10/s: {milliseconds(spent)}, {wrong} errors", good)


def statuses(seconds: float = 30) -> Figure:
    """P2: a hundred status requests a second while both children work."""
    with service(through=()) as made, client(made, accounts=4) as sender:
        task_id = str(send(sender, 0).task_id)
        wait_over(made, 30)
        _copy(made, task_id, 1000, "interactive", accounts=10)
        spent, wrong = _regularly(
            100, seconds, lambda http: http.get(f"{made.url}/api/v1/tasks/{task_id}"), sender.accounts[0][1], 200
        )
        busy = count(made, "status = 'processing'")
    return Figure(
        f"GET task at 100/s while {busy} children work: {milliseconds(spent)}, {wrong} errors",
        not wrong and share(spent, 0.99) <= 0.08,
    )


def hop(tasks: int = 60) -> Figure:
    """P3: from the commit to the claim, when nothing else is to be done."""
    with service(through=()) as made, client(made) as sender:
        for each in range(tasks):
            send(sender, each)
            wait_over(made, 30)
        spent = [float(str(row[0])) for row in ask(made, HOP)]
    good = share(spent, 0.5) <= 0.05 and share(spent, 0.99) <= 0.5
    return Figure(f"queued to claimed: {milliseconds(spent)}", good)


def turns(many: int = 500) -> Figure:
    """P4: one account's five hundred in bulk, and a single picture every five seconds."""
    with service(through=()) as made, client(made) as sender:
        first = send(sender, 0)
        wait_over(made, 30)
        _copy(made, str(first.task_id), many, "bulk")
        for each in range(1, 9):
            send(sender, each)
            threading.Event().wait(5)
        spent = [
            float(str(row[0])) for row in ask(made, HOP + "AND tasks.queue = 'interactive' AND tasks.request_id <> ''")
        ]
        left = ask(made, "SELECT count(*) FROM tasks WHERE queue = 'bulk' AND finished_at IS NULL")[0][0]
        job = float(str(ask(made, "SELECT avg(processing_seconds) FROM tasks")[0][0]))
    bound = 2 * job + 1
    said = f"a single one waits {milliseconds(spent)} (a job takes {job:.2f} s) while {left} of {many} in bulk are left"
    return Figure(said, share(spent, 0.99) <= bound)


def backlog(due: int = 10_000) -> Figure:
    """P5: ten thousand due tasks."""
    with service(through=()) as made, client(made) as sender:
        task_id = str(send(sender, 0).task_id)
        wait_over(made, 30)
        token = sender.accounts[0][1]
        before, _ = _regularly(20, 10, lambda http: http.get(f"{made.url}/api/v1/tasks/{task_id}"), token, 200)
        made.stop("worker")
        made.stop("sweeper")
        _copy(made, task_id, due, "interactive", accounts=100)
        publisher = Publisher(made.settings)
        recovery = Recovery(made.sessions, made.settings.timing, publisher.ready, lambda task, queue: None)
        ticks = []
        for _ in range(10):
            begun = time.monotonic()
            recovery.tick()
            ticks.append(time.monotonic() - begun)
        after, _ = _regularly(20, 10, lambda http: http.get(f"{made.url}/api/v1/tasks/{task_id}"), token, 200)
        lists, _ = _regularly(20, 10, lambda http: http.get(f"{made.url}/api/v1/tasks"), token, 200)
        publisher.close()
    said = (
        f"{due} due: a tick {milliseconds(ticks)}; GET task {milliseconds(after)}, before {milliseconds(before)};"
        f" list {milliseconds(lists)}"
    )
    return Figure(said, max(ticks) <= 0.5)


def _copy(made: Stack, task_id: str, times: int, queue: str, *, accounts: int = 1) -> None:
    """As many more tasks of the same original, of as many accounts as there shall be."""
    people = [uuid4() for _ in range(accounts)]
    with made.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO users (id, email) VALUES (:id, :email)"),
            [{"id": each, "email": f"{each}@example.com"} for each in people],
        )
        connection.execute(
            text(
                "INSERT INTO tasks"
                " (id, user_id, upload_id, operation, options, queue, max_retries, created_at, updated_at)"
                " SELECT gen_random_uuid(), (CAST(:people AS uuid[]))[1 + n % :accounts], upload_id, operation,"
                " options, :queue, max_retries, now() - interval '60 s', now() - interval '60 s'"
                " FROM tasks, generate_series(1, :times) n WHERE id = :id"
            ),
            {"people": people, "accounts": accounts, "queue": queue, "times": times, "id": task_id},
        )


def _regularly(
    rate: float, seconds: float, ask_once: Callable[[httpx2.Client], httpx2.Response], token: str, expected: int
) -> tuple[list[float], int]:
    """Open loop: a request is sent when its time has come, whatever became of those before it. Seconds, and errors."""
    spent: list[float] = []
    wrong = 0
    begun = time.monotonic()

    def one(at: float) -> None:
        nonlocal wrong
        answer = ask_once(http)
        spent.append(time.monotonic() - at)
        wrong += answer.status_code != expected

    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(headers=headers, timeout=20) as http, ThreadPoolExecutor(32) as pool:
        for each in range(int(rate * seconds)):
            at = begun + each / rate
            threading.Event().wait(max(0.0, at - time.monotonic()))
            pool.submit(one, at)
    return spent, wrong
