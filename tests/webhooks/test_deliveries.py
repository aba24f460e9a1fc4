"""Messages go out to a real receiver, again and again until it takes them; time passes in the database alone."""

import socket
import threading
from uuid import UUID

import pytest
from sqlalchemy import func, update
from standardwebhooks import WebhookVerificationError

from app.db import counters, webhooks
from app.db.base import Sessions
from app.db.models import User, WebhookDelivery, WebhookEndpoint
from app.services.counting import WEBHOOKS
from app.services.deliveries import GAPS, PLACES, PLACES_OF_ACCOUNT
from app.services.webhooks import Webhooks, checked
from tests.conftest import make_user
from tests.embedded_services import wait_for
from tests.factories import ago
from tests.outbound.sites import saying, site, to
from tests.webhooks.messages import (
    OK,
    PAYLOAD,
    Courier,
    delivery,
    endpoint,
    in_turn,
    make_delivery,
    make_due,
    received,
    seconds_to_next,
    secret_of,
    status,
    tries,
    wait_tried,
)

HOUR, DAY = 3600, 86_400


def counted(courier: Courier) -> dict[str, float]:
    """By their outcomes."""
    courier.counts.flush(courier.sessions)
    with courier.sessions.begin() as session:
        found = counters.totals(session)
    return {dict(labels)["outcome"]: value for (name, labels), value in found.items() if name == WEBHOOKS}


def wait_ended(sessions: Sessions, *ids: UUID) -> None:
    wait_for(lambda: all(delivery(sessions, each).ended_at for each in ids), "the messages have ended", seconds=10)


def set_endpoint(sessions: Sessions, user: User, url: str, **columns: object) -> None:
    with sessions.begin() as session:
        session.add(WebhookEndpoint(user_id=user.id, url=url, **columns))


def test_a_message_arrives_signed(courier: Courier, sessions: Sessions, user: User) -> None:
    with site(saying(OK)) as there, courier.at_work():
        made = make_delivery(sessions, user.id, there.url)
        wait_ended(sessions, made)
    (message,) = received(there)
    assert message.id == made
    assert message.verified(secret_of(sessions, user.id)) == PAYLOAD
    assert message.headers["content-type"] == "application/json"
    assert there.requests[0].startswith(b"POST /picture.png HTTP/1.1\r\n")
    with pytest.raises(WebhookVerificationError):
        message.verified(secret_of(sessions, make_user(sessions).id))
    (made_try,) = tries(sessions, made)
    assert (delivery(sessions, made).status, made_try.status_code, made_try.error) == ("delivered", 200, None)
    assert endpoint(sessions, there.url) is None


def test_it_fails_five_times_and_is_taken_then(courier: Courier, sessions: Sessions, user: User) -> None:
    with site(in_turn(*[status(500)] * 5, OK)) as there, courier.at_work():
        made = make_delivery(sessions, user.id, there.url)
        for number, gap in enumerate(GAPS[:5], 1):
            wait_tried(sessions, made, number)
            assert seconds_to_next(sessions, made) == pytest.approx(gap, abs=3)
            assert delivery(sessions, made).status == "pending"
            failing = endpoint(sessions, there.url)
            assert failing is not None
            assert (failing.failing_since is not None, failing.disabled_at) == (True, None)
            make_due(sessions, made)
        wait_ended(sessions, made)
    assert delivery(sessions, made).status == "delivered"
    assert [each.status_code for each in tries(sessions, made)] == [500] * 5 + [200]
    assert [each.error for each in tries(sessions, made)] == ["refused"] * 5 + [None]
    messages = received(there)
    assert {message.id for message in messages} == {made}
    assert len({message.body for message in messages}) == 1
    assert endpoint(sessions, there.url) is None


def test_after_the_last_try_it_has_failed(courier: Courier, sessions: Sessions, user: User) -> None:
    with site(saying(status(500))) as there, courier.at_work():
        made = make_delivery(sessions, user.id, there.url, attempts=len(GAPS))
        wait_ended(sessions, made)
    assert (delivery(sessions, made).status, len(there.requests)) == ("failed", 1)


@pytest.mark.parametrize(
    ("answer", "code", "word"),
    [
        (to("http://127.0.0.1:9/elsewhere"), 302, "redirected"),
        (status(404), 404, "refused"),
        (b"nonsense\r\n\r\n", None, "unreachable"),
        (b"", None, "unreachable"),
    ],
)
def test_what_is_no_2xx_is_tried_again(
    courier: Courier, sessions: Sessions, user: User, answer: bytes, code: int | None, word: str
) -> None:
    with site(saying(answer)) as there, courier.at_work():
        made = make_delivery(sessions, user.id, there.url)
        wait_tried(sessions, made, 1)
    (only,) = tries(sessions, made)
    assert (only.status_code, only.error) == (code, word)
    assert delivery(sessions, made).status == "pending"
    assert len(there.requests) == 1


@pytest.mark.parametrize(("number", "seconds"), [(503, 100), (429, 100), (500, 5), (503, 2), (429, 10 * DAY)])
def test_a_busy_receiver_may_ask_for_a_rest(
    courier: Courier, sessions: Sessions, user: User, number: int, seconds: int
) -> None:
    with site(saying(status(number, f"Retry-After: {seconds}"))) as there, courier.at_work():
        made = make_delivery(sessions, user.id, there.url)
        wait_tried(sessions, made, 1)
    assert seconds_to_next(sessions, made) == pytest.approx(min(max(seconds, 5), HOUR), abs=3)


def test_one_who_is_gone_is_told_nothing_more(courier: Courier, sessions: Sessions, user: User) -> None:
    with site(saying(status(410))) as there, courier.at_work():
        waiting = make_delivery(sessions, user.id, there.url, next_at=ago(-8 * HOUR))
        elsewhere = make_delivery(sessions, user.id, there.url + "/other", next_at=ago(-8 * HOUR))
        made = make_delivery(sessions, user.id, there.url)
        wait_ended(sessions, made, waiting)
        later = make_delivery(sessions, user.id, there.url)
        wait_ended(sessions, later)
    assert [delivery(sessions, each).status for each in (made, waiting, later)] == ["disabled"] * 3
    assert delivery(sessions, elsewhere).status == "pending"
    assert [each.error for each in tries(sessions, made)] == ["gone"]
    assert tries(sessions, later) == []
    assert len(there.requests) == 1
    assert counted(courier) == {"disabled": 3}


@pytest.mark.parametrize(("failing", "expected"), [(4 * DAY, "pending"), (5 * DAY + 60, "disabled")])
def test_an_address_that_fails_for_days_is_given_up(
    courier: Courier, sessions: Sessions, user: User, failing: float, expected: str
) -> None:
    with site(saying(status(500))) as there:
        set_endpoint(sessions, user, there.url, failing_since=ago(failing))
        with courier.at_work():
            made = make_delivery(sessions, user.id, there.url)
            wait_tried(sessions, made, 1)
    assert delivery(sessions, made).status == expected


def test_a_disabled_address_is_tried_by_hand_and_works_again(courier: Courier, sessions: Sessions, user: User) -> None:
    use_case = Webhooks(sessions)
    with site(in_turn(status(500), OK)) as there:
        set_endpoint(sessions, user, there.url, failing_since=ago(9 * DAY), disabled_at=ago(DAY))
        with courier.at_work():
            made = make_delivery(sessions, user.id, there.url)
            wait_ended(sessions, made)
            assert delivery(sessions, made).status == "disabled"
            use_case.redeliver(made, user)
            wait_tried(sessions, made, 1)
            wait_ended(sessions, made)
            assert delivery(sessions, made).status == "disabled"  # it still does not work
            use_case.redeliver(made, user)
            wait_tried(sessions, made, 2)
            wait_ended(sessions, made)
            assert delivery(sessions, made).status == "delivered"
            next_one = make_delivery(sessions, user.id, there.url)
            wait_ended(sessions, next_one)
    assert delivery(sessions, next_one).status == "delivered"
    assert [message.id for message in received(there)] == [made, made, next_one]


def test_for_a_day_both_secrets_sign(courier: Courier, sessions: Sessions, user: User) -> None:
    use_case = Webhooks(sessions)
    first = use_case.signing(user.id).secret
    second = use_case.rotate(user.id).secret
    assert use_case.signing(user.id).keys == [second, first]
    with site(saying(OK)) as there, courier.at_work():
        wait_ended(sessions, make_delivery(sessions, user.id, there.url))
        (both,) = received(there)
        assert both.verified(first) == both.verified(second) == PAYLOAD
        third = use_case.rotate(user.id).secret
        wait_ended(sessions, make_delivery(sessions, user.id, there.url))
    message = received(there)[-1]
    assert message.verified(second) == message.verified(third) == PAYLOAD
    with pytest.raises(WebhookVerificationError):
        message.verified(first)


class Held:
    """A receiver that answers when it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()

    def __call__(self, connection: socket.socket, head: bytes) -> None:
        self.let.wait(20)
        connection.sendall(OK)


def test_who_answers_slowly_holds_up_himself_alone(courier: Courier, sessions: Sessions, user: User) -> None:
    slow, other = Held(), make_user(sessions)
    with site(slow) as there, site(slow) as there_too, site(slow) as third, site(saying(OK)) as quick:
        urls = (there.url, there_too.url, third.url)
        for url in urls:
            for _ in range(PLACES):
                make_delivery(sessions, user.id, url)
        with courier.at_work(seconds=20):
            wait_for(lambda: there.connections + there_too.connections == 2, "the slow ones are being tried", seconds=5)
            made = [make_delivery(sessions, other.id, quick.url) for _ in range(10)]
            wait_ended(sessions, *made)
            # Of a host one at a time, of an account two.
            assert [there.connections, there_too.connections, third.connections] == [1, 1, 0]
            assert PLACES_OF_ACCOUNT == 2
            slow.let.set()
            wait_for(lambda: third.connections == PLACES, "all have gone out", seconds=10)


def test_a_receiver_that_never_answers_is_left_in_time(courier: Courier, sessions: Sessions, user: User) -> None:
    silent = Held()
    with site(silent) as there, courier.at_work(seconds=0.3):
        made = make_delivery(sessions, user.id, there.url)
        wait_tried(sessions, made, 1)
        silent.let.set()
    (only,) = tries(sessions, made)
    assert only.error == "unreachable"
    assert 250 < only.duration_ms < 3000
    assert delivery(sessions, made).status == "pending"


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "http://localhost:{}/", "http://[::ffff:127.0.0.1]:{}/"])
def test_nothing_inside_is_reached(courier: Courier, sessions: Sessions, user: User, url: str) -> None:
    with site(saying(OK)) as canary, courier.at_work(outbound_allowed_networks=()):
        made = make_delivery(sessions, user.id, url.format(canary.port))
        wait_tried(sessions, made, 1)
    assert canary.connections == 0
    (only,) = tries(sessions, made)
    assert (only.status_code, only.error) == (None, "unreachable")


def test_another_process_goes_on_where_one_has_stopped(courier: Courier, sessions: Sessions, user: User) -> None:
    with site(in_turn(status(500), OK)) as there:
        made = make_delivery(sessions, user.id, there.url)
        with courier.at_work():
            wait_tried(sessions, made, 1)
        make_due(sessions, made)
        assert delivery(sessions, made).status == "pending"
        with courier.at_work():
            wait_ended(sessions, made)
    assert [message.id for message in received(there)] == [made, made]


def test_two_processes_send_each_message_once(courier: Courier, sessions: Sessions, user: User) -> None:
    with site(saying(OK)) as there, site(saying(OK)) as there_too, courier.at_work(), courier.at_work():
        made = [make_delivery(sessions, user.id, url) for url in (there.url, there_too.url) for _ in range(20)]
        wait_ended(sessions, *made)
        messages = received(there) + received(there_too)
    assert sorted(message.id for message in messages) == sorted(made)


def test_who_was_too_late_writes_nothing(sessions: Sessions, user: User) -> None:
    """Its lease ran out, and another one has the message now."""
    make_delivery(sessions, user.id)
    first = claimed(sessions)
    assert claimed(sessions) is None  # nothing is due
    with sessions.begin() as session:
        session.execute(update(WebhookDelivery).values(next_at=func.now()))
    second = claimed(sessions)
    assert first is not None
    assert second is not None
    with sessions.begin() as session:
        assert not webhooks.hold(session, first)
        assert webhooks.hold(session, second)


def claimed(sessions: Sessions) -> webhooks.Claimed | None:
    with sessions.begin() as session:
        return webhooks.claim(session, lease=30)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Shop.Example.com/a/b?c=/d#e", "shop.example.com"),
        ("http://shop.example.com:8080", "shop.example.com:8080"),
        ("http://shop.example.com?a", "shop.example.com"),
        ("http://shop.example.com#a", "shop.example.com"),
        ("http://[::1]:81/", "[::1]:81"),
    ],
)
def test_the_database_knows_the_host(sessions: Sessions, user: User, url: str, host: str) -> None:
    make_delivery(sessions, user.id, checked(url))
    with sessions.begin() as session:
        assert webhooks.claim(session, lease=30, busy=[(user.id, host)]) is None
        assert webhooks.claim(session, lease=30, full=[user.id]) is None
        found = webhooks.claim(session, lease=30)
    assert found is not None
    assert found.host == host
