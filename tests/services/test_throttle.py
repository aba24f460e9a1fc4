"""How often a password may be tried."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import func, select, text, update

from app.core.config import Settings
from app.core.errors import NotAuthenticated, TooManyRequests
from app.db import login_failures
from app.db.base import Sessions
from app.db.login_failures import Rule
from app.db.models import Login, LoginFailure
from app.services import throttle as rules
from app.services.accounts import Accounts
from app.services.logins import Logins
from app.services.retention import Retention
from app.services.throttle import Throttle
from app.storage.memory import MemoryStore
from tests.embedded_services import wait_for
from tests.factories import ago

ADA = "ada@example.com"
PASSWORD = "correct horse battery staple"
WRONG = NotAuthenticated("wrong")


@pytest.fixture
def throttle(sessions: Sessions) -> Throttle:
    return Throttle(sessions)


def fail(throttle: Throttle, email: str = ADA, address: str | None = None) -> None:
    with suppress(NotAuthenticated), throttle.trying(email, address):
        raise WRONG


def succeed(throttle: Throttle, email: str = ADA, address: str | None = None) -> None:
    with throttle.trying(email, address):
        pass


def wait_of(throttle: Throttle, email: str = ADA, address: str | None = None) -> int:
    """What a further try is told to wait."""
    with pytest.raises(TooManyRequests) as caught, throttle.trying(email, address):
        pytest.fail("the password was looked at")
    assert caught.value.code == "too_many_attempts"
    return caught.value.retry_after


def later(sessions: Sessions, seconds: float) -> None:
    """As if so much time had passed."""
    past = ago(seconds) - func.now()
    with sessions.begin() as session:
        session.execute(
            update(LoginFailure).values(
                first_at=LoginFailure.first_at + past,
                last_at=LoginFailure.last_at + past,
                blocked_until=LoginFailure.blocked_until + past,
            )
        )


def failures(sessions: Sessions) -> dict[str, int]:
    with sessions.begin() as session:
        rows = session.execute(select(LoginFailure.subject, LoginFailure.failures))
        return {subject.partition(":")[0]: number for subject, number in rows}


def test_the_sixth_wrong_password_waits_and_each_further_one_twice_as_long(
    throttle: Throttle, sessions: Sessions
) -> None:
    for _ in range(5):
        fail(throttle)
    waits = []
    for _ in range(7):
        waits.append(wait_of(throttle))
        later(sessions, waits[-1])
        fail(throttle)
    assert waits == [30, 60, 120, 240, 480, 900, 900]


def test_a_refused_try_prolongs_nothing(throttle: Throttle, sessions: Sessions) -> None:
    for _ in range(5):
        fail(throttle)
    for _ in range(10):
        wait_of(throttle)
    later(sessions, 30)
    succeed(throttle)


def test_nobody_is_locked_out(throttle: Throttle, sessions: Sessions) -> None:
    for _ in range(12):
        fail(throttle)
        later(sessions, 900)
    succeed(throttle)
    assert failures(sessions) == {}


def test_a_right_password_forgets_the_wrong_ones(throttle: Throttle, sessions: Sessions) -> None:
    for _ in range(10):
        for _ in range(4):
            fail(throttle)
        succeed(throttle)
    assert failures(sessions) == {}


def test_a_quarter_of_an_hour_forgets_a_few(throttle: Throttle, sessions: Sessions) -> None:
    for _ in range(3):
        for _ in range(4):
            fail(throttle)
        later(sessions, 901)
    for _ in range(5):
        fail(throttle)
    wait_of(throttle)


def test_many_are_forgotten_after_as_long_a_quiet(throttle: Throttle, sessions: Sessions) -> None:
    for _ in range(5):
        fail(throttle)
    later(sessions, 901)  # the wait is over, the quiet has lasted for less
    fail(throttle)
    assert wait_of(throttle) == 60
    later(sessions, 60 + 901)
    fail(throttle)
    assert failures(sessions) == {"both": 1, "account": 1}


def test_accounts_do_not_share(throttle: Throttle) -> None:
    for _ in range(5):
        fail(throttle)
    succeed(throttle, "bob@example.com")


def test_an_address_has_fifty_whatever_the_account(throttle: Throttle) -> None:
    for number in range(50):
        fail(throttle, f"{number}@example.com", "192.0.2.7")
    assert wait_of(throttle, "new@example.com", "192.0.2.7") == 30
    assert wait_of(throttle, "new@example.com", "::ffff:192.0.2.7") == 30
    succeed(throttle, "new@example.com", "192.0.2.8")
    succeed(throttle, "new@example.com", None)


def test_an_address_of_version_6_is_its_network(throttle: Throttle) -> None:
    for number in range(50):
        fail(throttle, f"{number}@example.com", f"2001:db8:0:1::{number:x}")
    wait_of(throttle, "new@example.com", "2001:db8:0:1:ffff::")
    succeed(throttle, "new@example.com", "2001:db8:0:2::1")


def test_right_passwords_do_not_use_up_an_address(throttle: Throttle, sessions: Sessions) -> None:
    fail(throttle, "bob@example.com", "192.0.2.7")
    for _ in range(60):
        succeed(throttle, ADA, "192.0.2.7")
    assert failures(sessions) == {"both": 1, "account": 1, "address": 1}


def test_right_passwords_at_the_same_moment_are_all_taken_back(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.add(LoginFailure(subject="address:1", failures=2))
    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            login_failures.take_back(session, "address:1")

            def take_back() -> None:
                with sessions.begin() as other:
                    login_failures.take_back(other, "address:1")

            second = pool.submit(take_back)
            wait_for(lambda: is_waiting(sessions), "the other one waits for this")
        second.result(timeout=10)
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(LoginFailure)) == 0


def is_waiting(sessions: Sessions) -> bool:
    with sessions.begin() as session:
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(session.scalar(waiting))


def test_an_address_that_is_refused_does_not_count_for_the_account(
    throttle: Throttle, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "BY_ADDRESS", Rule(free=1))
    fail(throttle, "bob@example.com", "192.0.2.7")
    for _ in range(5):
        wait_of(throttle, ADA, "192.0.2.7")
    fail(throttle)
    with sessions.begin() as session:
        assert session.scalars(select(func.max(LoginFailure.failures))).one() == 1


def test_who_tries_from_one_address_keeps_the_owner_out_of_none_of_his(throttle: Throttle, sessions: Sessions) -> None:
    for _ in range(12):
        fail(throttle, ADA, "192.0.2.66")
        later(sessions, 300)
    for _ in range(5):
        fail(throttle, ADA, "192.0.2.66")
    wait_of(throttle, ADA, "192.0.2.66")
    succeed(throttle, ADA, "192.0.2.7")


def test_from_all_addresses_together_an_account_has_twenty(throttle: Throttle) -> None:
    for number in range(20):
        fail(throttle, ADA, f"192.0.2.{number}")
    assert wait_of(throttle, ADA, "198.51.100.7") == 30
    succeed(throttle, "bob@example.com", "198.51.100.7")


def test_of_many_at_the_same_moment_five_are_looked_at(throttle: Throttle) -> None:
    together, looked = threading.Barrier(12), []

    def attempt(number: int) -> None:
        together.wait()
        with suppress(NotAuthenticated, TooManyRequests), throttle.trying(ADA, "192.0.2.7"):
            looked.append(number)
            raise WRONG

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(attempt, range(12)))
    assert len(looked) == 5


def test_addresses_are_kept_as_hashes(throttle: Throttle, sessions: Sessions) -> None:
    fail(throttle)
    fail(throttle, "\ud800\x00")
    with sessions.begin() as session:
        assert not any("ada" in subject for subject in session.scalars(select(LoginFailure.subject)))


def test_unknown_known_and_disabled_accounts_are_counted_alike(settings: Settings, sessions: Sessions) -> None:
    logins = Logins(settings, sessions, Throttle(sessions))
    Accounts(settings, sessions).register(ADA, PASSWORD)
    for email in (ADA, "nobody@example.com", "no address\x00"):
        for _ in range(5):
            with pytest.raises(NotAuthenticated):
                logins.log_in(email, "wrong password")
        with pytest.raises(TooManyRequests):
            logins.log_in(email, PASSWORD)
        with pytest.raises(TooManyRequests):
            logins.log_in(email.upper(), PASSWORD)


def test_what_has_ended_is_cleaned_away(settings: Settings, sessions: Sessions) -> None:
    logins = Logins(settings, sessions, Throttle(sessions))
    Accounts(settings, sessions).register(ADA, PASSWORD)
    clean: Callable[[], object] = Retention(settings, sessions, MemoryStore()).clean
    fail(logins.throttle, "bob@example.com")
    access = logins.log_in(ADA, PASSWORD).access
    clean()
    assert logins.authenticate(access).user.email == ADA
    assert failures(sessions) == {"both": 1, "account": 1}
    later(sessions, 7200)
    with sessions.begin() as session:
        session.execute(update(Login).values(expires_at=ago(86_400 + settings.access_token_ttl_seconds + 60)))
    clean()
    assert failures(sessions) == {}
    with sessions.begin() as session:
        assert session.scalars(select(func.count()).select_from(Login)).one() == 0
    with pytest.raises(NotAuthenticated):
        logins.authenticate(access)
