"""No secret gets into a log, wherever it stands."""

import json
import logging
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from app.core.logging import configure_logging, get_logger
from app.core.redaction import LONGEST, email_hash, redact, redacted

PLAIN = string.ascii_letters + string.digits
canaries = st.text(PLAIN, min_size=12, max_size=40).map("CANARY".__add__)
# Where a secret may stand in a text.
PLACES: tuple[Callable[[str], str], ...] = (
    lambda c: f"https://host:8333/bucket/key.png?X-Amz-Algorithm=a&X-Amz-Signature={c}&x=1",
    lambda c: f"GET /uploads?token={c} HTTP/1.1",
    lambda c: f"/a?{c}=1",
    lambda c: f"https://app.example.com/#access_token={c}",
    lambda c: f"https://app.example.com/?{c}",
    lambda c: f'connection to "postgresql+psycopg://quickbg:{c}@db:5432/quickbg" failed',
    lambda c: f"redis://:{c}@redis:6379/0",
    lambda c: f"amqp://user:p@{c}@rabbit//",
    lambda c: f"https://{c}@host/path",
    lambda c: f"host=db user=quickbg password={c} dbname=x",
    lambda c: f"password='a {c} b'",
    lambda c: f"Authorization: Bearer {c}",
    lambda c: f"authorization: Basic {c}==",
    lambda c: f"Cookie: a=b; session={c}",
    lambda c: f"sent Bearer {c} to it",
    lambda c: repr({"password": c, "n": 1}),
    lambda c: repr({"Authorization": f"Bearer {c}"}),
    lambda c: repr([(b"authorization", f"Bearer {c}".encode())]),
    lambda c: repr([(b"x-api-key", c.encode())]),
    lambda c: json.dumps({"refresh_token": c}),
    lambda c: json.dumps(json.dumps({"secret_key": c})),
    lambda c: f"SECRET_KEY={c}",
    lambda c: f"AWS_SECRET_ACCESS_KEY: {c}",
    lambda c: f"client_secret => {c}",
    lambda c: f"qbg_{c[:8]}_{c}",
    lambda c: f"signed by whsec_{c}/+{c}==",
    lambda c: f"eyJhbGciOiJIUzI1NiJ9.eyJ{c}.{c}",
    lambda c: f"eyJ{c}",
    lambda c: f"account {c}@example.com was refused",
    lambda c: f"<{c}.x+y@mail.example.co.uk>",
    lambda c: f"lines\nand\r\npassword: {c}\n",
)


class Told(Exception):
    """An error that tells too much."""


def nested(text: str, how: int) -> Any:
    wrapped: tuple[Any, ...] = (
        text,
        [text],
        {"a": {"b": [text]}},
        (1, {"x": text}),
        {text},
        text.encode(),
        Told(text),
        {text: 1},
        SimpleNamespace(url=text),
    )
    return wrapped[how % len(wrapped)]


@given(canary=canaries, place=st.sampled_from(PLACES), how=st.integers(0, 8), around=st.text(max_size=20))
def test_no_canary_survives_in_any_place(canary: str, place: Callable[[str], str], how: int, around: str) -> None:
    event = {"event": "e", "value": nested(f"{around} {place(canary)}", how)}
    line = json.dumps(redact(None, "", event), default=repr)
    assert canary not in line
    assert "\n" not in line


@given(
    canary=canaries,
    name=st.sampled_from(
        ["password", "Authorization", "set-cookie", "X-Api-Key", "apikey", "refresh_token", "SECRET_KEY", "signature"]
    ),
    value=st.sampled_from([str, lambda c: [c], lambda c: {"a": c}, str.encode, lambda c: Told(c)]),
    deep=st.booleans(),
)
def test_no_canary_survives_under_a_secret_name(
    canary: str, name: str, value: Callable[[str], Any], deep: bool
) -> None:
    event: dict[str, Any] = {name: value(canary)}
    line = json.dumps(redact(None, "", {"event": "e", "request": [event]} if deep else event), default=repr)
    assert canary not in line


@given(
    st.recursive(
        st.text() | st.integers() | st.none() | st.binary(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_whatever_is_logged_becomes_one_line_of_json(value: Any) -> None:
    line = json.dumps(redact(None, "", {"event": value}))
    assert len(line.splitlines()) == 1


def test_what_holds_itself_ends() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "…" in json.dumps(redacted(endless), ensure_ascii=False)


@pytest.mark.parametrize(
    "text",
    [
        "request_finished",
        "/api/v1/tasks/0e20085f-0000-7000-8000-000000000000",
        "invalid token, please",
        "celery@host ready.",
        "Task app.process[0e20085f] succeeded in 0.62s: None",
        "http://127.0.0.1:8000/livez",
        "1.5 % of 3 @ once",
        "why? because",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redacted(text) == text


def test_what_is_useful_stays() -> None:
    assert redacted("postgresql://u:p@db:5432/quickbg") == "postgresql://***@db:5432/quickbg"
    assert redacted("GET https://s3/b/k.png?X-Amz-Signature=a failed") == "GET https://s3/b/k.png?*** failed"
    assert redacted("Ada@Example.com") == redacted("ada@example.com") == email_hash("ada@example.com")
    assert redacted({"width": 3, "ok": True, "none": None, "token": None}) == {
        "width": 3,
        "ok": True,
        "none": None,
        "token": None,
    }


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a://",
        "a://b",
        "token-",
        "token",
        "cookie",
        "?a=",
        "eyJ",
        '"',
        'token="',
        "@a.",
        "authorization:",
        '\\"',
        "token='\\",
        "a.b@",
        "a@a.",
        "bearer ",
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    text = piece * (2 * LONGEST // len(piece))
    began = time.process_time()
    redacted(text + "@")
    assert time.process_time() - began < 0.1


LIBRARIES = ("uvicorn.error", "celery.worker", "alembic.runtime.migration", "library")


@pytest.fixture
def _logging() -> Iterator[None]:
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    for name in LIBRARIES:  # whatever other tests have made of them
        logging.getLogger(name).disabled, logging.getLogger(name).propagate = False, True
        logging.getLogger(name).setLevel(logging.NOTSET)
    yield
    root.handlers[:], root.level, sys.excepthook = handlers, level, hook
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging")
def test_the_libraries_lines_and_tracebacks_pass_through_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    for name in LIBRARIES:
        logging.getLogger(name).warning("connected to %s", "redis://:CANARY@host/0")
        logging.getLogger(name).warning("with", extra={"headers": {"Authorization": "Bearer CANARY"}})
    try:
        raise Told("password=CANARY") from ValueError("https://u:CANARY@host/?token=CANARY")
    except Told:
        get_logger("app.test").exception("it_failed", url="https://host/?X-Amz-Signature=CANARY")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9
    assert "CANARY" not in "".join(lines)
    assert "Told" in json.loads(lines[-1])["exception"]


def test_what_ends_a_process_is_a_line_like_any_other(project: Path) -> None:
    code = (
        "from app.core.logging import configure_logging; configure_logging()\n"
        "raise RuntimeError('postgresql://quickbg:CANARY@db/quickbg')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project / "backend", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["event"] == "process_crashed"
    assert "CANARY" not in line
