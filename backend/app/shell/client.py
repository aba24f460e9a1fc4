"""A client of our own HTTP API, patient with a service that is busy or restarting."""

import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from app.core.options import CONTENT_TYPES, ResultFormat
from app.shell.errors import FileProblem, TaskProblem, UsageProblem
from app.shell.sources import Source, Url
from app.shell.targets import Job, with_ending

PATIENCE = 120.0
"""Seconds that one request is repeated for while the service is busy, restarting or gone."""

_UPLOADS = "/api/v1/uploads"
_POLL = 0.2
_HOLD = 1.0  # seconds that the service may hold its answer; Ctrl-C takes as long
_LONGEST_PAUSE = 30.0
_BUSY = {429, 502, 503, 504}
_TOKEN_SECONDS = 600.0  # tokens hold for 15 minutes; a new one is made well before


# What is wrong then is wrong with every picture.
_OPTIONS_AT_FAULT = {"invalid_option", "recipe_not_found"}
_FORMATS = {content_type: format_ for format_, content_type in CONTENT_TYPES.items()}


class Stopped(Exception):
    """The person has asked to stop."""


@dataclass(frozen=True)
class Sent:
    """The task of a picture that was sent. `replayed`: an earlier call had sent it already."""

    task_id: str
    replayed: bool = False


@dataclass(frozen=True)
class TaskView:
    """A task as the API shows it."""

    status: str
    stage: str | None
    progress: int
    error: str | None

    @property
    def is_over(self) -> bool:
        return self.status in {"completed", "failed", "cancelled", "expired"}


@dataclass
class Tokens:
    """Tokens for the local user; `mint` makes a new one. Safe to share between threads."""

    mint: Callable[[], str]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _current: tuple[float, str] | None = None

    def header(self) -> dict[str, str]:
        """The header that says who we are."""
        with self._lock:
            if self._current is None or time.monotonic() - self._current[0] > _TOKEN_SECONDS:
                self._current = (time.monotonic(), self.mint())
            return {"Authorization": f"Bearer {self._current[1]}"}


class Client:
    """Uploads, watches and downloads. Safe to share between threads; `stop` ends every wait.

    `on_trouble` is told why a request has to be repeated, and None once one is answered.
    """

    def __init__(
        self,
        address: str,
        tokens: Tokens,
        stop: threading.Event | None = None,
        *,
        patience: float = PATIENCE,
        on_trouble: Callable[[str | None], None] = lambda _: None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        # Both go to this machine: a proxy named in the environment has no part in it.
        self._api = httpx2.Client(base_url=address, trust_env=False, timeout=30, transport=transport)
        self._store = httpx2.Client(trust_env=False, timeout=60, transport=transport)
        self._tokens = tokens
        self.stop = stop or threading.Event()
        self._patience = patience
        self._on_trouble = on_trouble

    def close(self) -> None:
        self._api.close()
        self._store.close()

    def submit(self, source: Source, options: Mapping[str, str], *, anew: bool = False) -> Sent:
        """Upload a picture, or name its URL.

        The same picture with the same options is the task of an earlier call, for as long as the service remembers
        it: one that was interrupted is gone on with, and costs no second picture. `anew` makes another task of it.

        Raises:
            FileProblem: the service refuses it, or cannot be reached.
            UsageProblem: the options are what is refused.
        """
        # In any case an answer may be lost on its way: the second try finds the first one's task.
        key = str(uuid4()) if anew else _key(source, options)
        response = self._patiently(lambda: self._send(source, options, key))
        if not anew and _code(response) == "idempotency_key_reused":
            # Options that are named alike, and mean something else by now: a recipe has a new version.
            return self.submit(source, options, anew=True)
        return Sent(str(_json(response)["task_id"]), "Idempotency-Replayed" in response.headers)

    def _send(self, source: Source, options: Mapping[str, str], key: str) -> httpx2.Response:
        headers = self._tokens.header() | {"Idempotency-Key": key}
        if isinstance(source, Url):
            return self._api.post(_UPLOADS, data={**options, "image_url": source.text}, headers=headers)
        with source.open("rb") as file:
            files = {"file": (source.name.encode(errors="replace").decode(), file)}
            return self._api.post(_UPLOADS, files=files, data=dict(options), headers=headers)

    def wait(self, task_id: str, on_change: Callable[[TaskView], None]) -> TaskView:
        """Watch a task until it is over; every change is told.

        Raises:
            FileProblem: the service cannot be reached.
            TaskProblem: the service does not know it.
        """
        tag = '"none"'
        while True:
            asked = time.monotonic()
            headers = {"If-None-Match": tag}
            response = self._patiently(partial(self._get, f"/api/v1/tasks/{task_id}?wait={_HOLD}", **headers))
            unchanged = response.status_code == httpx2.codes.NOT_MODIFIED
            if not unchanged:
                task = _task(_json(response, TaskProblem))
                on_change(task)
                if task.is_over:
                    return task
                tag = response.headers.get("ETag", "")
            # It holds no answer while too many wait.
            self._pause(_POLL if unchanged and time.monotonic() - asked < _POLL else 0)

    def download(self, task_id: str, job: Job) -> Path:
        """Write the result, whole or not at all; returns the name of the file.

        Raises:
            FileProblem: it cannot be written, or the service cannot be reached.
            TaskProblem: it is not there any more.
        """

        def send() -> httpx2.Response:
            leads_to = self._get(f"/api/v1/tasks/{task_id}/result")
            if leads_to.status_code != httpx2.codes.TEMPORARY_REDIRECT:
                return leads_to
            # Another server, which must not see our token.
            return self._store.get(leads_to.headers["Location"])

        response = self._patiently(send)
        if not response.is_success:
            raise TaskProblem(_sentence(response))
        target = job.target if job.ending else with_ending(job.target, _format(response))
        try:
            write_new(target, response.content, force=job.force)
        except OSError as error:
            raise FileProblem(f"{target} cannot be written: {error.strerror}") from error
        return target

    def _get(self, path: str, **headers: str) -> httpx2.Response:
        return self._api.get(path, headers=self._tokens.header() | headers)

    def _patiently(self, send: Callable[[], httpx2.Response]) -> httpx2.Response:
        """Repeat while the service is busy or gone, for a bounded time."""
        deadline = time.monotonic() + self._patience
        pause = _POLL
        while True:
            try:
                response = send()
                if response.status_code not in _BUSY and not _is_at_work(response):
                    self._on_trouble(None)
                    return response
                reason, wanted = _sentence(response), _retry_after(response)
            except httpx2.TransportError as error:
                reason, wanted = f"The service cannot be reached ({type(error).__name__})", None
            except OSError as error:
                raise FileProblem(error.strerror or str(error)) from error
            self._on_trouble(reason)
            wanted = wanted or pause
            # What comes after the patience has ended, as a new month does, is not waited for at all.
            if time.monotonic() > deadline or wanted > self._patience:
                raise FileProblem(reason)
            self._pause(min(wanted, _LONGEST_PAUSE))
            pause = min(2 * pause, 5.0)

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Stopped


def _read_umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


UMASK = _read_umask()  # once: there is no way to read it that threads could not disturb


def write_new(target: Path, content: bytes, *, force: bool) -> None:
    """Write a file that appears whole; without `force`, one that has appeared meanwhile is kept.

    Raises:
        OSError: as `open` and `write` do; FileExistsError among them.
    """
    descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=".quickbg-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(draft).chmod(0o666 & ~UMASK)  # as any other program would have made it
        if target.exists() and not force:
            raise FileExistsError(17, "it exists already; --force replaces it")
        Path(draft).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(draft).unlink()
        raise


def _is_at_work(response: httpx2.Response) -> bool:
    """Whether the same request is being answered at this moment, or was by a server that has just died."""
    return response.status_code == httpx2.codes.CONFLICT and _code(response) == "idempotency_key_in_use"


def _retry_after(response: httpx2.Response) -> float | None:
    with suppress(ValueError):
        return float(response.headers.get("Retry-After", ""))
    return None


def _json(response: httpx2.Response, problem: type[FileProblem] = FileProblem) -> dict[str, Any]:
    """The body of an answer that grants the request.

    Raises:
        FileProblem: it does not; the service's own sentence.
        UsageProblem: likewise, when it would say so of every picture.
    """
    if not response.is_success:
        raise (UsageProblem if _code(response) in _OPTIONS_AT_FAULT else problem)(_sentence(response))
    with suppress(ValueError):
        return dict(response.json())
    raise FileProblem("The service's answer cannot be understood")


def _task(body: Mapping[str, Any]) -> TaskView:
    return TaskView(body["status"], body.get("stage"), int(body["progress"]), body.get("error_message"))


def _key(source: Source, options: Mapping[str, str]) -> str:
    """The name of a request: the same for the same picture, whatever it is called, with the same options.

    Raises:
        FileProblem: the picture cannot be read.
    """
    if isinstance(source, Url):
        picture = hashlib.sha256(source.text.encode()).hexdigest()
    else:
        try:
            with source.open("rb") as file:
                picture = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise FileProblem(error.strerror or str(error)) from error
    asked = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()
    return f"quickbg-{picture}-{asked[:32]}"


def _code(response: httpx2.Response) -> str | None:
    """Of a refusal."""
    if not response.is_success:
        with suppress(ValueError, AttributeError):
            return str(response.json().get("code"))
    return None


def _format(response: httpx2.Response) -> ResultFormat:
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return _FORMATS.get(content_type, ResultFormat.PNG)


def _sentence(response: httpx2.Response) -> str:
    with suppress(ValueError, TypeError, KeyError):
        return str(response.json()["detail"])
    return f"The service answered {response.status_code}"
