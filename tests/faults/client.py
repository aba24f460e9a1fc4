"""Clients that upload pictures and do not let go until they know what came of it, and a record of what they saw."""

import functools
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

import httpx2

from tests.pictures import encoded, subject

OPTIONS = {"refine": "false"}  # the least work: it is not the pixels that are tested here
DIFFERENT = 48
PATIENCE = 120.0  # seconds; twice as long as a dead request holds its key
TIMEOUT = 8.0
PAUSES = 0.3, 2.0  # seconds, from the first to the last
AT_ONCE = 64
ACCOUNTS = 4

Outcome = Literal["invoked", "ok", "fail", "unknown"]


@functools.cache
def _different(number: int) -> bytes:
    return encoded(subject(120 + 2 * number, 160 - number))


def picture(number: int) -> bytes:
    """One of a number of different ones, so that no result can stand in for another."""
    return _different(number % DIFFERENT)


@dataclass
class Upload:
    """What the client knows of one picture. `unknown`: it has given up, and may or may not have been heard."""

    number: int
    request_id: str
    user_id: UUID
    invoked_at: float
    outcome: Outcome = "invoked"
    tries: int = 0
    seconds: float = 0.0
    answers: set[tuple[UUID, UUID]] = field(default_factory=set)  # upload and task, each time it was accepted
    refusals: list[str] = field(default_factory=list)

    @property
    def task_id(self) -> UUID | None:
        return next((task for _, task in self.answers), None)

    @property
    def digest(self) -> str:
        """Of what was sent."""
        return hashlib.sha256(picture(self.number)).hexdigest()


@dataclass
class Record:
    """All uploads of a run, and every status that was answered."""

    uploads: list[Upload] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0  # seconds that any one request took

    def count(self, outcome: Outcome) -> int:
        return sum(upload.outcome == outcome for upload in self.uploads)

    def latency(self, share: float) -> float:
        """Seconds within which this share of the accepted pictures was accepted."""
        found = sorted(upload.seconds for upload in self.uploads if upload.outcome == "ok")
        return found[min(len(found) - 1, int(share * len(found)))] if found else 0.0


class Client:
    """Sends each picture under one Idempotency-Key, again and again, until it is accepted or refused for good."""

    def __init__(
        self, url: Callable[[], str], accounts: Sequence[tuple[UUID, str]], name: str, timeout: float = TIMEOUT
    ) -> None:
        self.record = Record()
        self._url, self.accounts, self._name = url, accounts, name
        self._http = httpx2.Client(timeout=timeout, limits=httpx2.Limits(max_connections=AT_ONCE))
        self._lock = threading.Lock()
        self.giving_up = threading.Event()

    def close(self) -> None:
        self._http.close()

    def begin(self, number: int, request_id: str | None = None) -> Upload:
        user_id, _ = self.accounts[number % len(self.accounts)]
        upload = Upload(number, request_id or f"{self._name}-{number}", user_id, time.monotonic())
        with self._lock:
            self.record.uploads.append(upload)
        return upload

    def send(self, upload: Upload) -> Upload:
        """Until the outcome is known, or patience is over."""
        begun = time.monotonic()
        while True:
            pause = min(PAUSES[0] * 1.5**upload.tries, PAUSES[1])
            upload.tries += 1
            outcome = self._try(upload)
            upload.seconds = time.monotonic() - begun
            if outcome == "invoked" and (upload.seconds > PATIENCE or self.giving_up.wait(pause)):
                outcome = "unknown"
            if outcome != "invoked":
                upload.outcome = outcome
                return upload

    def _try(self, upload: Upload) -> Outcome:
        token = self.accounts[upload.number % len(self.accounts)][1]
        headers = {
            "Authorization": f"Bearer {token}",
            "Idempotency-Key": upload.request_id,
            "X-Request-ID": upload.request_id,
        }
        files = {"file": ("photo.jpg", picture(upload.number))}
        begun = time.monotonic()
        try:
            answer = self._http.post(f"{self._url()}/api/v1/uploads", files=files, data=OPTIONS, headers=headers)
        except httpx2.TransportError as error:
            self._count(type(error).__name__, begun)
            return "invoked"
        self._count(str(answer.status_code), begun)
        if answer.status_code == 202:
            body = answer.json()
            upload.answers.add((UUID(body["upload_id"]), UUID(body["task_id"])))
            return "ok"
        if _is_passing(answer):
            return "invoked"
        upload.refusals.append(f"{answer.status_code} {answer.text[:200]}")
        return "fail" if answer.status_code < 500 else "invoked"

    def _count(self, status: str, begun: float) -> None:
        with self._lock:
            self.record.statuses[status] += 1
            self.record.longest = max(self.record.longest, time.monotonic() - begun)


def _is_passing(answer: httpx2.Response) -> bool:
    """Whether the service says itself that it is worth another try."""
    in_use = answer.status_code == 409 and answer.json().get("code") == "idempotency_key_in_use"
    return in_use or answer.status_code in {429, 503}


@contextmanager
def uploading(client: Client, rate: float) -> Iterator[Sequence[Future[Upload]]]:
    """`rate` new pictures a second for as long as the block runs, from threads that leave the cores to others."""
    stopped, sent = threading.Event(), list[Future[Upload]]()
    pool = ThreadPoolExecutor(AT_ONCE, "client", initializer=_be_nice)

    def run() -> None:
        _be_nice()
        begun, number = time.monotonic(), 0
        while not stopped.wait(max(0.0, begun + number / rate - time.monotonic())):
            sent.append(pool.submit(client.send, client.begin(number)))
            number += 1

    thread = threading.Thread(target=run, name="load")
    thread.start()
    try:
        yield sent
    finally:
        stopped.set()
        thread.join()
        pool.shutdown(wait=False)


def _be_nice() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def tally(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{status} x {number}" for status, number in sorted(statuses.items())) or "nothing"
