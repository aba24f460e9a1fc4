"""The load clients: each does the whole way of one picture, from the request to the bytes of the result."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx2

from app.shell.client import Tokens
from scripts.bench.rembg_environment import MODEL
from scripts.bench.sides import BenchProblem

PATIENCE = 300.0  # seconds for one picture
LOOKS = 20.0  # looks at tasks a second, over all that are in flight: more would be load, not measurement
EXPECTED = 0.5  # of the time that the last picture took: before that there is no use in looking


class Client(Protocol):
    """Safe to share between threads."""

    def cut_out(self, picture: Path, in_flight: int) -> bytes:
        """`in_flight`: how many are sent at the same time, this one included.

        Raises:
            BenchProblem: the picture has failed.
            httpx2.HTTPError: the server refuses it, or cannot be reached.
        """
        ...


class OurClient:
    """Uploads, looks at the task now and then until it is completed, and downloads."""

    def __init__(self, address: str, tokens: Tokens, options: Mapping[str, str]) -> None:
        self._api = httpx2.Client(base_url=address, trust_env=False, timeout=60)
        self._store = httpx2.Client(trust_env=False, timeout=60)  # another server, which must not see our token
        self._tokens, self._options = tokens, dict(options)
        self._last: dict[int, float] = {}  # seconds, by how many were in flight

    def cut_out(self, picture: Path, in_flight: int) -> bytes:
        begun = time.monotonic()
        # What follows a picture's end is no part of it, but makes it another file: of one that was here before, the
        # matte is kept, and nothing would be found anew.
        files = {"file": (picture.name, picture.read_bytes() + uuid4().bytes)}
        sent = self._api.post("/api/v1/uploads", files=files, data=self._options, headers=self._tokens.header())
        task_id = sent.raise_for_status().json()["task_id"]
        time.sleep(EXPECTED * self._last.get(in_flight, 0.0))
        while (task := self._task(task_id))["status"] != "completed":
            if task["status"] == "failed":
                raise BenchProblem(f"{picture.name}: {task['error_message']}")
            if time.monotonic() - begun > PATIENCE:
                raise BenchProblem(f"{picture.name}: the task is {task['status']} after {PATIENCE:.0f} s")
            time.sleep(in_flight / LOOKS)
        self._last[in_flight] = time.monotonic() - begun
        return self._store.get(task["presigned_url"]).raise_for_status().content

    def _task(self, task_id: str) -> dict[str, Any]:
        answer = self._api.get(f"/api/v1/tasks/{task_id}", headers=self._tokens.header())
        return dict(answer.raise_for_status().json())


class RembgClient:
    """Sends a picture and gets it back in the answer."""

    def __init__(self, address: str) -> None:
        self._http = httpx2.Client(base_url=address, trust_env=False, timeout=PATIENCE)

    def cut_out(self, picture: Path, in_flight: int) -> bytes:
        files = {"file": (picture.name, picture.read_bytes())}
        return self._http.post("/api/remove", files=files, data={"model": MODEL}).raise_for_status().content
