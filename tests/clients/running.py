"""Unchanged clients of remove.bg, each in a process of its own."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.core.config import PROJECT_ROOT
from tests.clients import install
from tests.clients.pictures import TO_SEE, WALLPAPER
from tests.e2e.conftest import Deployment
from tests.outbound.sites import Site, ok, site

SECONDS = 120
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

Calls = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Shop:
    """Who uses the clients: a service, a key and a token for it, and a folder to work in."""

    service: Deployment
    key: str
    token: str  # as `Authorization` has it
    folder: Path

    def python(self, client: str, *calls: tuple[str, dict[str, Any]], key: str | None = None) -> list[dict[str, Any]]:
        """What became of each call: `returned` or `raised`."""
        asked = {"client": client, "url": self.service.url, "key": key or self.key, "calls": calls}
        try:
            command = [install.python(), "-I", install.HERE / "drive.py"]
        except install.NotHere as error:
            pytest.skip(str(error))
        return self._run(command, asked, {})

    def node(self, client: str, *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            node, packages = install.node()
        except install.NotHere as error:
            pytest.skip(str(error))
        command = [node, "--require", PROJECT_ROOT / "docs" / "removebg-url.cjs", install.HERE / "drive.cjs"]
        environment = {"NODE_PATH": str(packages), "REMOVEBG_URL": self.service.url}
        return self._run(command, {"client": client, "calls": calls}, environment)

    def read(self, name: str) -> bytes:
        """A file that a client has written."""
        return (self.folder / name).read_bytes()

    def _run(self, command: list[Any], asked: dict[str, Any], environment: dict[str, str]) -> list[dict[str, Any]]:
        done = subprocess.run(
            command,
            input=json.dumps(asked),
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outcomes: list[dict[str, Any]] = json.loads(done.stdout)
        return outcomes


@contextmanager
def pictures() -> Iterator[Site]:
    """A server of the two pictures, `/ball.png` and `/wall.png`."""
    there = {b"/ball.png": TO_SEE, b"/wall.png": WALLPAPER}

    def answer(connection: socket.socket, head: bytes) -> None:
        method, path, *_ = head.split(b" ", 2)
        body = ok(there[path], b"Content-Type: image/png") if path in there else NOT_FOUND
        connection.sendall(body.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == b"HEAD" else body)

    with site(answer) as running:
        yield running
