"""The sweeper's tick, with the real broker and without one."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import pytest
import redis
from sqlalchemy import select, update

from app.core.config import Settings
from app.db import dispatch, heartbeats
from app.db.base import Sessions
from app.db.dispatch import WINDOW
from app.db.models import Task, User, WorkerHeartbeat
from app.services.recovery import Recovery
from app.tasks.publishing import BackgroundBell, Publisher
from tests.conftest import make_settings, make_user
from tests.factories import TIMING, ago, change, claim, make_task, row


@pytest.fixture
def broker(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as broker:
        broker.flushall()
        yield broker
        broker.flushall()


def first_message(broker: redis.Redis) -> bytes:
    message = broker.lindex("interactive", 0)
    assert isinstance(message, bytes)
    return message


@pytest.fixture
def publisher(settings: Settings) -> Iterator[Publisher]:
    publisher = Publisher(settings)
    yield publisher
    publisher.close()


@pytest.fixture
def recovery(sessions: Sessions, publisher: Publisher) -> Recovery:
    return Recovery(sessions, TIMING, publisher.ready, publisher.publish)


def test_an_unrung_task_is_rung_for_once(
    recovery: Recovery, broker: redis.Redis, sessions: Sessions, user: User
) -> None:
    task_id = make_task(sessions, user.id, age=60)
    assert recovery.tick().rung == 1
    assert recovery.tick().rung == 0
    assert row(sessions, task_id).dispatched_at is not None
    assert broker.llen("interactive") == 1
    assert broker.llen("bulk") == 0
    assert str(task_id).encode() in first_message(broker)


def test_the_message_carries_no_time_limits(
    recovery: Recovery, broker: redis.Redis, sessions: Sessions, user: User
) -> None:
    make_task(sessions, user.id, age=60)
    recovery.tick()
    assert b'"timelimit": [null, null]' in first_message(broker)


def test_an_emptied_broker_is_filled_again_without_a_flood(
    recovery: Recovery, broker: redis.Redis, sessions: Sessions, user: User
) -> None:
    for _ in range(WINDOW):
        make_task(sessions, user.id, age=60)
    assert recovery.tick().rung == WINDOW
    broker.flushall()
    with sessions.begin() as session:
        session.execute(update(Task).values(dispatched_at=ago(60)))
    assert recovery.tick().rung == WINDOW
    assert recovery.tick().rung == 0
    assert broker.llen("interactive") == WINDOW


def test_a_lost_lease_comes_back_without_a_broker(sessions: Sessions, user: User) -> None:
    def away() -> Mapping[str, int]:
        raise ConnectionError

    def unused(task_id: UUID, queue: str) -> None:
        raise AssertionError

    task_id = make_task(sessions, user.id, age=60)
    assert claim(sessions, task_id)
    change(sessions, task_id, lease_until=ago(1))
    unrung = make_task(sessions, user.id, age=60)
    tick = Recovery(sessions, TIMING, away, unused).tick()
    assert (tick.lost, tick.rung) == (1, 0)
    assert row(sessions, task_id).status == "retrying"
    assert row(sessions, unrung).dispatched_at is None


def test_what_cannot_be_rung_is_given_back(sessions: Sessions, user: User) -> None:
    rung: list[UUID] = []

    def publish(task_id: UUID, queue: str) -> None:
        if len(rung) == 2:
            raise ConnectionError
        rung.append(task_id)

    for n in range(5):
        make_task(sessions, user.id, age=100 - n)
    assert Recovery(sessions, TIMING, lambda: {"interactive": 0, "bulk": 0}, publish).tick().rung == 2
    with sessions.begin() as session:
        assert len(dispatch.stamp_undispatched(session, timing=replace(TIMING, dispatch_grace=-1))) == 3


def test_two_sweepers_at_once_do_each_thing_once(
    settings: Settings, broker: redis.Redis, sessions: Sessions, user: User
) -> None:
    for _ in range(5):
        someone = make_user(sessions)
        for _ in range(WINDOW):
            make_task(sessions, someone.id, age=60)
    publishers = [Publisher(settings) for _ in range(4)]
    sweepers = [Recovery(sessions, TIMING, each.ready, each.publish) for each in publishers]
    with ThreadPoolExecutor(4) as pool:
        ticks = list(pool.map(lambda sweeper: sweeper.tick(), sweepers))
    assert sum(tick.rung for tick in ticks) == 5 * WINDOW
    assert broker.llen("interactive") == 5 * WINDOW
    for publisher in publishers:
        publisher.close()


def test_dead_heartbeats_are_cleared(recovery: Recovery, sessions: Sessions) -> None:
    with sessions.begin() as session:
        heartbeats.beat(session, "dead:1", "worker")
        session.execute(update(WorkerHeartbeat).values(beat_at=ago(3600)))
        heartbeats.beat(session, "alive:1", "worker")
        assert heartbeats.online(session, "worker", timing=TIMING) == 1
    recovery.tick()
    with sessions.begin() as session:
        assert session.scalars(select(WorkerHeartbeat.id)).all() == ["alive:1"]


def test_a_silent_broker_holds_nobody_up_for_long(environment: dict[str, str], sessions: Sessions, user: User) -> None:
    """The bell hands over at once, and after one failure it leaves the broker alone for a while."""
    publisher = Publisher(make_settings(environment, redis_url="redis://127.0.0.1:9/0"))
    bell = BackgroundBell(publisher, sessions)
    bell.start()
    task_ids = [make_task(sessions, user.id) for _ in range(50)]
    for task_id in task_ids:
        bell.ring(task_id, "interactive")
    begun = time.monotonic()
    bell.close()
    assert time.monotonic() - begun < 3
    publisher.close()
    assert all(row(sessions, task_id).dispatched_at is None for task_id in task_ids)


def test_a_slow_broker_does_not_hold_the_sweeper_up(sessions: Sessions, user: User) -> None:
    rung: list[UUID] = []
    timing = replace(TIMING, sweep_interval=0.0)

    def publish(task_id: UUID, queue: str) -> None:
        rung.append(task_id)

    ids = [make_task(sessions, user.id, age=100 - n) for n in range(5)]
    late = Recovery(sessions, timing, lambda: {"interactive": 0, "bulk": 0}, publish).tick()
    assert late.rung == len(rung) < 5
    assert [row(sessions, each).dispatched_at is None for each in ids[late.rung :]] == [True] * (5 - late.rung)
