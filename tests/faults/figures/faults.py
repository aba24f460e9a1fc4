"""One fault at a time: how long the repair takes, and that nothing is lost or done twice."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2

from app.tasks.publishing import Publisher
from tests.embedded_services import wait_for
from tests.faults.checker import check_leftovers
from tests.faults.client import OPTIONS, Client, picture, tally, uploading
from tests.faults.figures import (
    Figure,
    ask,
    client,
    completed_once,
    count,
    ids,
    milliseconds,
    number,
    send,
    service,
    share,
    wait_count,
    wait_logged,
    wait_over,
)
from tests.faults.nemesis import ERRORS
from tests.faults.proxy import HEALTHY, Toxic
from tests.faults.stack import STUB_SECONDS, Stack

AGAIN = "SELECT min(extract(epoch FROM dispatched_at)) FROM tasks WHERE dispatched_at > to_timestamp(:then)"


def flushed() -> Figure:
    """R2: the broker forgets 200 queued tasks."""
    with service(LEASE_SECONDS="45") as made, client(made, accounts=4) as sender:
        made.stop("worker")
        for each in range(200):
            send(sender, each)
        rung = count(made, "dispatched_at IS NOT NULL")
        made.flush()
        flushed_at = number(made, "SELECT extract(epoch FROM clock_timestamp())")
        wait_count(made, f"dispatched_at > to_timestamp({flushed_at})", 1, seconds=60)
        first = number(made, AGAIN, then=flushed_at) - flushed_at
        made.start("worker")
        took = wait_over(made, 120)
        good = first <= 20 and completed_once(made)
        return Figure(
            f"{rung} of 200 rung, then FLUSHALL: rung again after {first:.1f} s, all done {took:.0f} s later", good
        )


def killed_worker(times: int = 10) -> Figure:
    """R3: SIGKILL of the whole worker in the middle of a job, at the default lease."""
    waits = []
    with service(LEASE_SECONDS="45", FAILPOINTS="inferring=sleep:2") as made, client(made) as sender:
        for each in range(times):
            task_id = send(sender, each).task_id
            wait_count(made, "status = 'processing'", 1, seconds=30)
            for pid in [*made.children(), made.pid("worker")]:
                os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            wait_count(made, "attempt = 2", each + 1, seconds=100)
            waits.append(time.monotonic() - killed)
            wait_over(made, 60)
            retries = number(made, "SELECT retries FROM tasks WHERE id = :id", id=task_id)
            if retries != 1:
                return Figure(f"{retries:.0f} retries", good=False)
            made.wait_ready()
        return Figure(
            f"{times} times: claimed again after {max(waits):.0f} s at most, one retry each", max(waits) <= 80
        )


def stopped_worker(times: int = 10) -> Figure:
    """R4: a worker stands still for two leases while another one does its task."""
    with service(LEASE_SECONDS="5") as made, client(made) as sender:
        made.own["worker"] = {"FAILPOINTS": "uploading=sleep:1"}
        made.stop("worker")
        for each in range(times):
            made.start("worker")
            made.wait_ready()
            send(sender, each)
            wait_count(made, "status = 'processing' AND stage = 'uploading'", 1, seconds=30, every=0.005)
            pids = [made.pid("worker"), *made.children()]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            made.start("worker-2")
            wait_count(made, "status = 'completed'", each + 1, seconds=60)
            made.stop("worker-2")
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            wait_logged(made, "worker", "attempt_fenced", each + 1, seconds=30)
            made.stop("worker")
        good = completed_once(made) and count(made, "attempt = 2") == times
        return Figure(f"{times} of {times} fenced, each completed once, by the second attempt", good)


def idle_worker() -> Figure:
    """R5: a worker stands still while it waits for messages, is sent three, and is killed."""
    with service() as made, client(made) as sender:
        os.kill(made.pid("worker"), signal.SIGSTOP)
        for each in range(3):
            send(sender, each)
        wait_count(made, "dispatched_at IS NOT NULL", 3, seconds=10)
        made.kill("worker")
        took = wait_over(made, 60)
        return Figure(f"3 of 3 done {took:.1f} s after the kill", took <= 30 and completed_once(made))


def poisoned(seconds: float = 40) -> Figure:
    """R6: as many pictures as the worker can do, without and with those among them that take a child down."""
    spoilt = ("kill", "memory", "hoard", "spin")
    failpoints = (
        f"inferring=sleep:{STUB_SECONDS};downloaded@kill=kill;claimed@memory=raise:MemoryError;"
        "decoding@hoard=hoard:8192;inferring@spin=spin:600"
    )
    with (
        service(
            FAILPOINTS=failpoints,
            TASK_TIMEOUT_SECONDS="5",
            TASK_MAX_RETRIES="3",
            WORKER_MEMORY_LIMIT_BYTES=str(1 << 30),
        ) as made,
        client(made, accounts=4) as sender,
        client(made) as spoiler,  # of its own account: a second try does not wait behind the good ones
    ):
        main, rates = made.pid("worker"), []
        with uploading(sender, 12):
            _pause(10)
            for among in ((), spoilt):
                begun, done = time.monotonic(), count(made, "status = 'completed'")
                for each in among:
                    send(spoiler, 1, each)
                _pause(seconds)
                if among:
                    wait_count(made, "status = 'failed'", len(spoilt), seconds=300)
                rates.append((count(made, "status = 'completed'") - done) / (time.monotonic() - begun))
        failed = ask(made, "SELECT error_code, attempt FROM tasks WHERE status = 'failed' ORDER BY 1")
        lost = 1 - rates[1] / rates[0]
        alive = made.pid("worker") == main
        codes = ", ".join(f"{code} after {attempt}" for code, attempt in failed)
        said = f"{codes}; {rates[0]:.1f} pictures/s without, {rates[1]:.1f} with: {lost:.0%} lost; same main: {alive}"
        bounded = [tuple(row) for row in failed] == [(code, 4) for code in ("oom", "oom", "timeout", "worker_lost")]
        return Figure(said, alive and lost <= 0.25 and bounded)


def silent_broker(seconds: float = 60) -> Figure:
    """R8: the broker does not answer for a minute, under load."""
    with service(through=()) as made, client(made, accounts=4) as sender:
        with uploading(sender, 10):
            _pause(5)
            os.kill(made.service_pid("valkey"), signal.SIGSTOP)
            began = time.monotonic()
            wait_for(lambda: _health(made) == "degraded", "it is told", seconds=10, every=0.2)
            told = time.monotonic() - began
            _pause(seconds - told)
            os.kill(made.service_pid("valkey"), signal.SIGCONT)
        latency = sender.record.latency(0.99)
        back = wait_over(made, 120)
        answers = tally(sender.record.statuses)
        said = f"{answers}, p99 {latency * 1000:.0f} ms, degraded after {told:.1f} s, all done {back:.0f} s after"
        good = set(sender.record.statuses) == {"202"} and latency <= 0.15 and told <= 5 and back <= 60
        return Figure(said, good and completed_once(made))


def restarted_database(times: int = 5) -> Figure:
    """R9: Postgres is restarted without a good-bye, under load."""
    with service() as made, client(made, accounts=4) as sender:
        recoveries = []
        with uploading(sender, 10):
            for _ in range(times):
                _pause(4)
                made.restart_postgres()
                ready = time.monotonic()
                wait_for(lambda: _ready(made), "it answers again", seconds=20)
                recoveries.append(time.monotonic() - ready)
        took = wait_over(made, 90)
        statuses = dict(sender.record.statuses)
        good = set(statuses) <= {"202", "503", "409"} and max(recoveries) <= 5 and completed_once(made)
        said = (
            f"{statuses}; answers again {max(recoveries):.1f} s after it is ready at most; all done {took:.0f} s after"
        )
        return Figure(said, good)


def ill_store(seconds: float = 60) -> Figure:
    """R10: S3 swallows everything for a minute, then refuses three of ten requests, then answers two seconds late."""
    with service(through=("s3",)) as made, client(made, accounts=2) as sender:
        asked: list[float] = []
        with uploading(sender, 5):
            _pause(5)
            known = ids(sender.record.uploads)[0]
            for toxic, share_of_time in ((Toxic(black_hole=True), 1.0), (ERRORS, 0.5), (Toxic(latency=1.0), 0.5)):
                made.proxies.set("s3", toxic)
                asked += _ask_status(made, sender, str(known), seconds * share_of_time)
            made.proxies.set("s3", HEALTHY)
            _pause(12)
        slowest = sender.record.longest
        took = wait_over(made, 120)
        good = slowest <= 15 and share(asked, 0.99) <= 0.1 and completed_once(made)
        answers = tally(sender.record.statuses)
        said = f"{answers}; slowest {slowest:.1f} s; GET task {milliseconds(asked)}; done {took:.0f} s after"
        return Figure(said, good)


def cancel_storm(tasks: int = 500) -> Figure:
    """R11: 500 tasks, each cancelled twice at some time."""
    generator = random.Random(11)  # noqa: S311 - it has to be foreseeable
    with service() as made, client(made) as sender:
        _, token = sender.accounts[0]
        spent: list[float] = []

        def one(each: int) -> None:
            task_id = send(sender, each).task_id
            for _ in range(2):
                _pause(generator.random() * 2)
                begun = time.monotonic()
                answer = httpx2.post(f"{made.url}/api/v1/tasks/{task_id}/cancel", headers=_bearer(token), timeout=20)
                spent.append(time.monotonic() - begun)
                assert answer.status_code in {200, 409}, answer.text

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(tasks)))
        wait_over(made, 120)
        made.down()
        ends = {str(end): each for end, each in ask(made, "SELECT status, count(*) FROM tasks GROUP BY 1")}
        reachable = count(made, "status = 'cancelled' AND result_key IS NOT NULL")
        made.age_leftovers()
        orphans = list(check_leftovers(made.settings, made.sessions, made.store))
        good = set(ends) <= {"cancelled", "completed"} and not reachable and not orphans and share(spent, 0.99) <= 0.1
        return Figure(f"{ends}; cancel {milliseconds(spent)}; {len(orphans)} leftovers after the clean-up", good)


def duplicates(tasks: int = 100) -> Figure:
    """R12: every message five times."""
    with service() as made, client(made, accounts=8) as sender:
        publisher = Publisher(made.settings)
        for each in range(tasks):
            task_id = send(sender, each).task_id
            assert task_id
            for _ in range(4):
                publisher.publish(task_id, "interactive")
        publisher.close()
        wait_over(made, 120)
        claims = "SELECT count(*) FROM task_events WHERE status = 'processing' AND from_status <> 'processing'"
        claimed = number(made, claims)
        return Figure(
            f"{claimed:.0f} claims for {tasks} tasks, of 5 messages each", claimed == tasks and completed_once(made)
        )


def rolling_stop(times: int = 20) -> Figure:
    """R13: the worker is told to stop under load, again and again."""
    with service() as made, client(made, accounts=4) as sender:
        took = []
        with uploading(sender, 4):
            for _ in range(times):
                _pause(3)
                begun = time.monotonic()
                made.stop("worker")
                took.append(time.monotonic() - begun)
                made.start("worker")
                made.wait_ready()
        wait_over(made, 120)
        retried = count(made, "retries > 0")
        good = max(took) <= 50 and not retried and completed_once(made)
        return Figure(f"{times} stops of {max(took):.1f} s at most, {retried} retries used up, 0 failed", good)


def one_key(requests: int = 100) -> Figure:
    """R14: a hundred times the same request at once, and another one under the same key."""
    with service() as made, client(made) as sender:
        _, token = sender.accounts[0]

        def post(data: bytes) -> httpx2.Response:
            return httpx2.post(
                f"{made.url}/api/v1/uploads",
                files={"file": ("photo.jpg", data)},
                data=OPTIONS,
                headers=_bearer(token) | {"Idempotency-Key": "the-same"},
                timeout=30,
            )

        with ThreadPoolExecutor(requests) as pool:
            answers = list(pool.map(post, [picture(1)] * requests))
        other = post(picture(2))
        statuses = {
            status: sum(a.status_code == status for a in answers) for status in {a.status_code for a in answers}
        }
        made_ids = {answer.json()["task_id"] for answer in answers if answer.status_code == 202}
        good = len(made_ids) == count(made) == 1 and set(statuses) <= {202, 409} and other.status_code == 422
        return Figure(f"{statuses}, {count(made)} task; another body {other.status_code}", good)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _health(made: Stack) -> str:
    return str(httpx2.get(f"{made.url}/health", timeout=5).json()["status"])


def _ready(made: Stack) -> bool:
    return httpx2.get(f"{made.url}/readyz", timeout=5).status_code == 200


def _ask_status(made: Stack, sender: Client, task_id: str, seconds: float) -> list[float]:
    """Ten times a second, how long each answer takes."""
    _, token = sender.accounts[0]
    spent, until = [], time.monotonic() + seconds
    with httpx2.Client(headers=_bearer(token), timeout=20) as http:
        while time.monotonic() < until:
            begun = time.monotonic()
            http.get(f"{made.url}/api/v1/tasks/{task_id}").raise_for_status()
            spent.append(time.monotonic() - begun)
            _pause(0.1)
    return spent


def _pause(seconds: float) -> None:
    threading.Event().wait(max(0.0, seconds))
