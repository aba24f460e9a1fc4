"""One key, one task: whoever asks again, at once or after a crash, learns what the first was answered."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any, BinaryIO
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.errors import Conflict, InvalidRequest, StorageUnavailable
from app.core.options import RemovalOptions
from app.db import idempotency as rows
from app.db.base import Sessions
from app.db.models import IdempotencyKey, Task, User
from app.services.backlog import Backlog
from app.services.idempotency import KEY, once
from app.services.orders import Order
from app.services.submission import Submission, Submissions
from app.storage.memory import MemoryStore
from tests.conftest import make_user
from tests.factories import TIMING, Silence, ago, make_limits
from tests.pictures import encoded, subject

PICTURE, ANOTHER = encoded(), encoded(subject(120, 90))


@pytest.fixture
def submissions(settings: Settings, sessions: Sessions) -> Submissions:
    return Submissions(
        settings, sessions, MemoryStore(), Silence(), Backlog(sessions, TIMING, 3600), make_limits(settings)
    )


def send(
    submissions: Submissions, user: User, key: str | None = "k", data: bytes = PICTURE, **options: Any
) -> Submission:
    return submissions.submit(
        io.BytesIO(data), user=user, filename="a.jpg", order=Order(RemovalOptions(**options), idempotency_key=key)
    )


def tasks_of(sessions: Sessions) -> int:
    with sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(Task)) or 0


def test_the_second_request_gets_the_first_ones_answer(
    submissions: Submissions, sessions: Sessions, user: User
) -> None:
    first, second = send(submissions, user), send(submissions, user)
    assert (first.upload_id, first.task_id, first.replayed) == (second.upload_id, second.task_id, False)
    assert second.replayed
    assert tasks_of(sessions) == 1


def test_without_a_key_each_request_is_its_own(submissions: Submissions, sessions: Sessions, user: User) -> None:
    assert send(submissions, user, None).task_id != send(submissions, user, None).task_id


@pytest.mark.parametrize("change", [{"data": ANOTHER}, {"trim": False}])
def test_another_request_under_the_key_is_refused(submissions: Submissions, user: User, change: dict[str, Any]) -> None:
    send(submissions, user)
    with pytest.raises(InvalidRequest, match="another request") as refused:
        send(submissions, user, **change)
    assert refused.value.code == "idempotency_key_reused"


def test_keys_belong_to_accounts(submissions: Submissions, sessions: Sessions, user: User) -> None:
    other = make_user(sessions)
    assert send(submissions, user).task_id != send(submissions, other).task_id


def test_of_many_at_once_one_does_it(submissions: Submissions, sessions: Sessions, user: User) -> None:
    def one(_: int) -> UUID | None:
        with suppress(Conflict):  # while the first is at work
            return send(submissions, user).task_id
        return None

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(one, range(40)))
    assert len(answers - {None}) == 1
    assert tasks_of(sessions) == 1


def test_a_store_that_failed_gives_the_key_back(submissions: Submissions, sessions: Sessions, user: User) -> None:
    class Failing(MemoryStore):
        def put(self, key: str, body: BinaryIO, content_type: str) -> None:
            raise StorageUnavailable("The object store cannot be reached.")

    broken = replace(submissions, store=Failing())
    with pytest.raises(StorageUnavailable):
        send(broken, user)
    assert not send(submissions, user).replayed


def _hold(sessions: Sessions, user: User, key: str = "k", sent: dict[str, object] | None = None) -> rows.Once:
    """As a request does that dies at once."""
    asked = once(user.id, "uploads", key, sent or {})
    with sessions.begin() as session:
        assert rows.hold(session, asked) is None
    return asked


def test_a_dead_requests_key_is_taken_over(sessions: Sessions, user: User) -> None:
    dead = _hold(sessions, user)
    heir = once(user.id, "uploads", "k", {})
    with sessions.begin() as session:
        assert rows.hold(session, heir) is not None  # not yet
        session.execute(update(IdempotencyKey).values(locked_at=ago(rows.LOCK + 1)))
    with sessions.begin() as session:
        assert rows.hold(session, heir) is None
        assert not rows.answer(session, dead, {"a": 1})  # it was not dead after all: it comes too late
        assert not rows.release(session, dead)
        assert rows.answer(session, heir, {"a": 2})


def test_old_keys_are_forgotten(sessions: Sessions, user: User) -> None:
    _hold(sessions, user, "old")
    with sessions.begin() as session:
        session.execute(update(IdempotencyKey).values(created_at=ago(rows.KEEP + 1)))
    _hold(sessions, user, "new")
    with sessions.begin() as session:
        assert rows.forget_old(session, limit=9) == 1
        assert session.scalars(select(IdempotencyKey.key)).all() == ["new"]


@pytest.fixture
def lost_answers(sessions: Sessions) -> Iterator[list[str]]:
    """The next commit that makes a task, whose answer never arrives: `kept` or `dropped` by the database."""
    fates: list[str] = []

    def lose() -> None:
        fates.pop()
        raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    def after_flush(session: Session, _: object) -> None:
        session.info["makes"] = any(isinstance(made, Task) for made in session.new)
        if session.info["makes"] and fates == ["dropped"]:
            lose()

    def after_commit(session: Session) -> None:
        if session.info.pop("makes", False) and fates == ["kept"]:
            lose()

    event.listen(sessions, "after_flush", after_flush)
    event.listen(sessions, "after_commit", after_commit)
    yield fates
    event.remove(sessions, "after_flush", after_flush)
    event.remove(sessions, "after_commit", after_commit)


@pytest.mark.parametrize("key", ["k", None])
def test_a_commit_whose_answer_was_lost_is_looked_up(
    submissions: Submissions, sessions: Sessions, user: User, lost_answers: list[str], key: str | None
) -> None:
    lost_answers.append("kept")
    made = send(submissions, user, key)
    assert lost_answers == []
    with sessions.begin() as session:
        assert session.scalars(select(Task.id)).all() == [made.task_id]


def test_a_commit_that_was_not_kept_may_be_repeated(
    submissions: Submissions, sessions: Sessions, user: User, lost_answers: list[str]
) -> None:
    lost_answers.append("dropped")
    with pytest.raises(OperationalError):
        send(submissions, user)
    assert lost_answers == []
    assert tasks_of(sessions) == 0
    assert not send(submissions, user).replayed
    assert tasks_of(sessions) == 1


@given(st.text(max_size=300))
def test_any_key_is_good_or_refused(key: str) -> None:
    sane = 1 <= len(key) <= 255 and key.isascii() and key.isprintable() and key == key.strip()
    assert bool(KEY.fullmatch(key)) == sane
    if not sane:
        with pytest.raises(InvalidRequest) as refused:
            once(uuid4(), "uploads", key, {})
        assert refused.value.code == "malformed_idempotency_key"
