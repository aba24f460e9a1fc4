"""A service of one's own making, behind the client's transport: it takes pictures and answers as the real one does."""

import re
import threading
from dataclasses import dataclass, field

import httpx2

from app.shell.client import Client, Tokens

API = "http://127.0.0.1:8000"
STORE = "http://127.0.0.1:9000/bucket/"


@dataclass
class Service:
    """Remembers by their Idempotency-Key what it was sent. What a picture holds says how its task fares.

    `refusal`: the answer to every upload, if there is one; only to the first with `refuses_once`. `content_type`: of
    the results. `missed`: how often it was asked while it was away.
    """

    tasks: dict[str, bytes] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    refusal: tuple[int, dict[str, str]] | None = None
    refuses_once: bool = False
    content_type: str = "image/png"
    away: bool = False
    missed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self) -> Client:
        return Client(API, Tokens(lambda: "token"), transport=httpx2.MockTransport(self.answer))

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if self.away:
            self.missed += 1
            raise httpx2.ConnectError("gone")
        with self.lock:
            if request.method == "POST":
                return self._take(request)
            task_id = request.url.path.split("/")[2 if request.url.port == 9000 else 4]
            if task_id in self.forgotten:
                return httpx2.Response(404, json={"detail": "There is no such task.", "code": "task_not_found"})
            if request.url.port == 9000:
                content = b"cut-out of " + self.tasks[task_id]
                return httpx2.Response(200, content=content, headers={"Content-Type": self.content_type})
            if request.url.path.endswith("/result"):
                return httpx2.Response(307, headers={"Location": STORE + task_id})
            return self._show(task_id)

    def _take(self, request: httpx2.Request) -> httpx2.Response:
        if refusal := self.refusal:
            self.refusal = None if self.refuses_once else refusal
            return httpx2.Response(refusal[0], json=refusal[1])
        key = request.headers["Idempotency-Key"]
        if replayed := key in self.keys:
            task_id = self.keys[key]
        else:
            task_id = self.keys[key] = str(len(self.keys))
            self.tasks[task_id] = _picture(request.content)
            self.sent.append(request.content.decode(errors="replace"))
        headers = {"Idempotency-Replayed": "true"} if replayed else {}
        return httpx2.Response(202, json={"task_id": task_id}, headers=headers)

    def _show(self, task_id: str) -> httpx2.Response:
        if self.tasks[task_id].startswith(b"bad"):
            body = {"status": "failed", "progress": 70, "error_message": "The image has no clear subject."}
        else:
            body = {"status": "completed", "progress": 100}
        return httpx2.Response(200, json=body)


def _picture(body: bytes) -> bytes:
    if found := re.search(rb'name="file".*?\r\n\r\n(.*?)\r\n--', body, re.DOTALL):
        return found[1]
    return body
