"""Turns: how many messages an account may have in a queue, and who gets the next."""

from uuid import UUID

from app.db import dispatch
from app.db.base import Sessions
from app.db.dispatch import WINDOW
from app.db.models import User
from app.db.tasks import Claim
from tests.conftest import make_user
from tests.factories import TIMING, claim, make_task, row


def stamped(sessions: Sessions) -> list[UUID]:
    with sessions.begin() as session:
        return [task_id for task_id, _ in dispatch.stamp_undispatched(session, timing=TIMING)]


def test_an_account_has_a_window_of_messages(sessions: Sessions, user: User) -> None:
    ids = [make_task(sessions, user.id, age=600 - n) for n in range(WINDOW + 3)]
    assert stamped(sessions) == ids[:WINDOW]
    assert stamped(sessions) == []


def test_accounts_take_turns(sessions: Sessions, user: User) -> None:
    many = [make_task(sessions, user.id, age=600 - n) for n in range(WINDOW + 3)]
    one = make_task(sessions, make_user(sessions).id, age=60)
    rung = stamped(sessions)
    assert set(rung) == {one, *many[:WINDOW]}
    assert rung.index(one) <= 1


def test_each_queue_has_its_window(sessions: Sessions, user: User) -> None:
    bulk = [make_task(sessions, user.id, age=600 - n, queue="bulk") for n in range(WINDOW + 1)]
    single = make_task(sessions, user.id, age=60)
    assert set(stamped(sessions)) == {single, *bulk[:WINDOW]}


def test_a_claim_makes_room_for_the_next(sessions: Sessions, user: User) -> None:
    ids = [make_task(sessions, user.id, age=600 - n) for n in range(WINDOW + 2)]
    stamped(sessions)
    with sessions.begin() as session:
        assert dispatch.stamp_next(session, user.id, "interactive") is None
    assert isinstance(claim(sessions, ids[0]), Claim)
    with sessions.begin() as session:
        assert dispatch.stamp_next(session, user.id, "interactive") == ids[WINDOW]
        assert dispatch.stamp_next(session, user.id, "interactive") is None


def test_a_new_task_is_marked_once_and_only_with_room(sessions: Sessions, user: User) -> None:
    first = make_task(sessions, user.id)
    with sessions.begin() as session:
        assert dispatch.stamp_new(session, first)
        assert not dispatch.stamp_new(session, first)
    for _ in range(WINDOW - 1):
        make_task(sessions, user.id, age=60)
    stamped(sessions)
    last = make_task(sessions, user.id)
    others = make_task(sessions, make_user(sessions).id)
    with sessions.begin() as session:
        assert not dispatch.stamp_new(session, last)
        assert dispatch.stamp_new(session, others)
    assert row(sessions, last).dispatched_at is None
