"""A worker's pulse: the lease is prolonged, stages are shown, and a task that was taken away is noticed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from app.core.config import Settings
from app.core.states import Stage
from app.db import tasks
from app.db.base import Sessions
from app.db.models import User
from app.services.pulse import Pulse
from tests.embedded_services import wait_for
from tests.factories import claim, make_task, row


@contextmanager
def beating(pulse: Pulse) -> Iterator[Pulse]:
    pulse.start()
    try:
        yield pulse
    finally:
        pulse.stop()


@pytest.fixture
def fast_pulse(sessions: Sessions, settings: Settings) -> Iterator[Pulse]:
    with beating(Pulse(sessions, "host:9", replace(settings.timing, heartbeat=0.02))) as pulse:
        yield pulse


@pytest.fixture
def slow_pulse(sessions: Sessions, settings: Settings) -> Iterator[Pulse]:
    with beating(Pulse(sessions, "host:9", replace(settings.timing, heartbeat=600))) as pulse:
        yield pulse


def test_a_stage_is_shown_at_once_and_those_that_are_over_already_are_not(
    slow_pulse: Pulse, sessions: Sessions, user: User
) -> None:
    task_id = make_task(sessions, user.id)
    held = claim(sessions, task_id)
    assert held is not None
    with slow_pulse.hold(held) as grip:
        grip.enter(Stage.DECODING)
        grip.enter(Stage.INFERRING)
        wait_for(lambda: row(sessions, task_id).stage == Stage.INFERRING, "the stage is shown", seconds=10)
    with sessions.begin() as session:
        shown = [each.stage for each in tasks.history(session, task_id)]
    assert shown == [None, "downloading", "inferring"]


def test_who_shows_a_stage_finds_out_that_the_task_is_gone(slow_pulse: Pulse, sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    held = claim(sessions, task_id)
    assert held is not None
    with slow_pulse.hold(held) as grip:
        with sessions.begin() as session:
            tasks.cancel(session, task_id)
        grip.enter(Stage.INFERRING)
        assert grip.lost.wait(10)
        with pytest.raises(Exception, match="taken away"):
            grip.enter(Stage.REFINING)


def test_the_pulse_prolongs_the_lease_while_native_code_computes(
    fast_pulse: Pulse, sessions: Sessions, user: User
) -> None:
    task_id = make_task(sessions, user.id)
    held = claim(sessions, task_id)
    assert held is not None
    claimed = row(sessions, task_id).lease_until
    assert claimed is not None
    matrix = np.random.default_rng(0).random((300, 300))

    def prolonged() -> bool:
        np.linalg.svd(matrix)
        now = row(sessions, task_id).lease_until
        return now is not None and now > claimed

    with fast_pulse.hold(held):
        wait_for(prolonged, "the lease is prolonged", seconds=30)


def test_the_pulse_finds_out_that_the_task_is_gone(fast_pulse: Pulse, sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    held = claim(sessions, task_id)
    assert held is not None
    with fast_pulse.hold(held) as grip:
        grip.check()
        with sessions.begin() as session:
            tasks.fail(session, held, code="x", message="x")
        assert grip.lost.wait(10)
        with pytest.raises(Exception, match="taken away"):
            grip.check()
    with sessions.begin() as session:
        assert not tasks.enter_stage(session, held, Stage.ENCODING)
