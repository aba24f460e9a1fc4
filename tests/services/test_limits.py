"""What an account may have at work and in a month: exact however many ask at once; who repeats himself is answered."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, BinaryIO
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from app.core.config import DAY, Settings
from app.core.errors import Conflict, StorageUnavailable, TooManyRequests
from app.core.states import TaskStatus, UploadStatus
from app.db import usage
from app.db.base import Sessions
from app.db.models import IdempotencyKey, Task, Upload, Usage, User
from app.services.backlog import Backlog
from app.services.control import Control
from app.services.limits import AccountLimits, limits_of, subscriber
from app.services.orders import Order
from app.services.submission import Submission, Submissions
from app.services.usage import Usages
from app.storage.memory import MemoryStore
from tests.conftest import make_settings, make_user
from tests.factories import TIMING, Silence, ago, change, make_batch, make_limits, make_task, row
from tests.pictures import encoded, subject

PICTURE = encoded()
MEGAPIXELS = 320 * 240 / 1e6

Make = Callable[..., Submissions]


@pytest.fixture
def make(environment: dict[str, str], sessions: Sessions) -> Make:
    def make(**limits: int) -> Submissions:
        made = make_settings(environment, **limits)
        backlog = Backlog(sessions, TIMING, 3600)
        return Submissions(made, sessions, MemoryStore(), Silence(), backlog, make_limits(made))

    return make


def control(submissions: Submissions) -> Control:
    return Control(submissions.sessions, submissions.store, submissions.bell, submissions.limits, submissions)


def send(submissions: Submissions, user: User, key: str | None = None, data: bytes = PICTURE) -> Submission:
    return submissions.submit(io.BytesIO(data), user=user, filename="a.jpg", order=Order(idempotency_key=key))


def attempt(submissions: Submissions, user: User) -> str:
    try:
        send(submissions, user)
    except TooManyRequests as refusal:
        return refusal.code
    return "taken"


def count(sessions: Sessions, table: Any) -> int:
    with sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def month(sessions: Sessions, user: User) -> tuple[int, float]:
    with sessions.begin() as session:
        found = usage.last_months(session, user.id, 1)[0]
    return found.images, round(found.megapixels, 4)


# ---- tasks that are not over


def test_one_task_too_many_is_refused_and_nothing_is_left_of_it(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make(quota_active_tasks=2)
    first = send(submissions, user)
    send(submissions, user)
    with pytest.raises(TooManyRequests, match="2 tasks that are not over") as refused:
        send(submissions, user)
    assert (refused.value.code, refused.value.retry_after) == ("too_many_active_tasks", 5)
    assert isinstance(submissions.store, MemoryStore)
    assert len(submissions.store.objects) == count(sessions, Upload) == count(sessions, Task) == 2
    assert attempt(submissions, make_user(sessions)) == "taken"
    change(sessions, first.task_id, status=TaskStatus.CANCELLED, finished_at=func.now())
    assert attempt(submissions, user) == "taken"


def test_however_many_ask_at_once(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make(quota_active_tasks=7)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: attempt(submissions, user), range(40)))
    assert answers.count("taken") == count(sessions, Task) == 7
    assert answers.count("too_many_active_tasks") == 33


def test_a_repeated_request_is_answered_all_the_same(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make(quota_active_tasks=1, quota_images_per_month=1, rate_limit_megapixels_per_minute=1)
    first = send(submissions, user, "k")
    for _ in range(15):  # more than a megapixel of them
        again = send(submissions, user, "k")
        assert (again.task_id, again.replayed) == (first.task_id, True)
    with pytest.raises(TooManyRequests):
        send(submissions, user, "another")
    assert count(sessions, IdempotencyKey) == 1  # the refused one may be sent again


def test_uploads_on_their_way_count_for_a_minute(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make(quota_active_tasks=1)

    class Failing(MemoryStore):
        def put(self, key: str, body: BinaryIO, content_type: str) -> None:
            raise StorageUnavailable("The object store cannot be reached.")

    with pytest.raises(StorageUnavailable):
        send(replace(submissions, store=Failing()), user)
    assert attempt(submissions, user) == "too_many_active_tasks"
    with sessions.begin() as session:
        session.execute(update(Upload).values(created_at=ago(61)))
    assert attempt(submissions, user) == "taken"


def test_items_of_a_batch_have_limits_of_their_own(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make(quota_active_tasks=1)
    make_task(sessions, user.id, batch_id=make_batch(sessions, user.id))
    assert [attempt(submissions, user) for _ in range(2)] == ["taken", "too_many_active_tasks"]


def test_running_again_needs_a_place_too(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make(quota_active_tasks=3)
    over = [make_task(sessions, user.id) for _ in range(9)]
    for task_id in over:
        change(sessions, task_id, status=TaskStatus.CANCELLED, finished_at=func.now())

    def again(task_id: UUID) -> bool:
        try:
            control(submissions).retry(task_id, user)
        except TooManyRequests:
            return False
        return True

    with ThreadPoolExecutor(9) as pool:
        assert sum(pool.map(again, over)) == 3
    assert attempt(submissions, user) == "too_many_active_tasks"


# ---- images of a month


def test_the_month_counts_what_was_taken_in_once(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make()
    task_id = send(submissions, user, "k").task_id
    send(submissions, user, "k")
    assert month(sessions, user) == (1, MEGAPIXELS)
    change(sessions, task_id, status=TaskStatus.CANCELLED, finished_at=func.now())
    control(submissions).retry(task_id, user)
    assert row(sessions, task_id).status == TaskStatus.QUEUED
    assert month(sessions, user) == (1, MEGAPIXELS)
    send(submissions, user)
    assert month(sessions, user) == (2, 2 * MEGAPIXELS)


def test_a_full_month_is_refused_until_its_end(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make(quota_images_per_month=1)
    send(submissions, user)
    with pytest.raises(TooManyRequests, match="1 images") as refused:
        send(submissions, user)
    assert refused.value.code == "quota_exceeded"
    assert 1 <= refused.value.retry_after <= DAY
    with sessions.begin() as session:
        left = usage.seconds_left(session)
        session.execute(update(Usage).values(month=usage.THIS_MONTH - usage.A_MONTH))
    now = datetime.now(UTC)
    then = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    assert left == pytest.approx((then - now).total_seconds(), abs=60)
    assert attempt(submissions, user) == "taken"


def test_of_many_at_once_the_month_takes_as_many_as_it_has(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make(quota_images_per_month=5)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: attempt(submissions, user), range(30)))
    assert answers.count("taken") == count(sessions, Task) == 5
    assert answers.count("quota_exceeded") == 25
    assert month(sessions, user)[0] == 5


def test_who_loses_the_last_place_while_storing_has_promised_nothing(
    make: Make, sessions: Sessions, user: User
) -> None:
    submissions = make(quota_images_per_month=1)

    class Overtaken(MemoryStore):
        def put(self, key: str, body: BinaryIO, content_type: str) -> None:
            super().put(key, body, content_type)
            assert attempt(submissions, user) == "taken"

    with pytest.raises(TooManyRequests) as refused:
        send(replace(submissions, store=Overtaken()), user, "k")
    assert refused.value.code == "quota_exceeded"
    assert count(sessions, Task) == 1
    assert count(sessions, IdempotencyKey) == 0
    with sessions.begin() as session:  # its row names the object for whoever cleans up
        assert sorted(session.scalars(select(Upload.status))) == [UploadStatus.PENDING, UploadStatus.STORED]


# ---- megapixels in a minute


def test_pixels_are_counted_before_anything_is_stored(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make(rate_limit_megapixels_per_minute=1)
    big = encoded(subject(800, 600))
    send(submissions, user, data=big)
    send(submissions, user, data=big)
    with pytest.raises(TooManyRequests, match="1 megapixels in 60 seconds") as refused:
        send(submissions, user, data=big)
    assert refused.value.code == "rate_limited"
    assert 1 <= refused.value.retry_after <= 120
    assert isinstance(submissions.store, MemoryStore)
    assert len(submissions.store.objects) == count(sessions, Upload) == 2
    assert attempt(submissions, make_user(sessions)) == "taken"


def test_running_again_counts_its_pixels(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make(rate_limit_megapixels_per_minute=1)
    task_id = send(submissions, user, data=encoded(subject(1200, 800))).task_id
    with pytest.raises(Conflict):
        control(submissions).retry(task_id, user)
    change(sessions, task_id, status=TaskStatus.CANCELLED, finished_at=func.now())
    with pytest.raises(TooManyRequests, match="megapixels"):
        control(submissions).retry(task_id, user)
    assert row(sessions, task_id).status == TaskStatus.CANCELLED


# ---- whose limits


def test_an_accounts_own_limits_come_first(settings: Settings, user: User) -> None:
    user.active_tasks, user.images_per_month = 5, 0
    changed = settings.model_copy(update={"quota_active_tasks": 9, "quota_images_per_month": 7})
    assert limits_of(user, changed) == AccountLimits(0, 0, 0, active_tasks=5, images_per_month=0)


def test_a_look_shows_what_is_left(make: Make, sessions: Sessions, user: User) -> None:
    submissions = make(quota_active_tasks=5, rate_limit_megapixels_per_minute=3, rate_limit_requests_per_minute=9)
    send(submissions, user)
    with sessions.begin() as session:
        earlier = usage.THIS_MONTH - 11 * usage.A_MONTH
        session.add(Usage(user_id=user.id, month=earlier, images=4, megapixels=1.5))
        session.add(Usage(user_id=user.id, month=usage.THIS_MONTH - 12 * usage.A_MONTH, images=9, megapixels=9))
        session.add(Usage(user_id=make_user(sessions).id, month=usage.THIS_MONTH, images=9, megapixels=9))
    for _ in range(2):
        used = Usages(sessions, submissions.limits).look(user)
        assert [each.images for each in used.months] == [1, *[0] * 10, 4]
        assert len({each.month for each in used.months}) == 12
        assert all(each.month.day == 1 for each in used.months)
        assert used.active_tasks == 1
        assert used.left == {"requests_per_minute": 9, "megapixels_per_minute": 2, "active_tasks": 4}


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_its_own(address: Any) -> None:
    assert subscriber(str(address)) == subscriber(f"::ffff:{address}") == str(address)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_with_ipv6_a_network_is_one(network: int, one: int, another: int) -> None:
    def address(rest: int) -> str:
        return ":".join(f"{(network << 64 | rest) >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))

    if network:  # where mapped addresses are not
        assert subscriber(address(one)) == subscriber(address(another))
        assert subscriber(address(one)).endswith("/64")


@pytest.mark.parametrize("address", ["", "testclient", "/run/quickbg.sock"])
def test_what_is_no_address_is_taken_as_it_is(address: str) -> None:
    assert subscriber(address) == address
