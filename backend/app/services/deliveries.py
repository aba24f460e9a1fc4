"""Webhooks are delivered: claim → sign → POST → write down what came of it.

A try that dies with its process, or takes too long to say how it ended, is made again once its lease has run out: a
message arrives at least once, each time with the same id.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings
from app.core.failpoints import failpoint
from app.core.logging import get_logger
from app.db import webhooks
from app.db.base import Sessions
from app.db.webhooks import Claimed, Tried
from app.outbound.client import Outbound, Reply, UrlNotFetched
from app.services.counting import WEBHOOKS, Counts
from app.services.webhooks import Webhooks, body_of, signed

TRY_SECONDS = 15.0  # for all of a try
LEASE = 30.0  # seconds; longer than any try and its transactions
PLACES = 4  # tries at a time
PLACES_OF_ACCOUNT = 2  # and one for each of its hosts: who answers slowly must not hold up everybody
POLL = 1.0  # seconds
GAPS = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800)  # seconds before each further try: a day in all
JITTER = 0.2
LONGEST_WISH = 3600.0  # seconds that a receiver may ask us to stay away
GONE = 410
BUSY = frozenset({429, 503})
CLOSING = 5.0  # seconds for the tries that are on their way

log = get_logger(__name__)


@dataclass(frozen=True)
class Answer:
    """How a receiver took a message. `error`: in one word why it did not; nothing of what else it said is kept."""

    status_code: int | None
    error: str | None
    wish: float = 0.0  # seconds that we should stay away


def delay_after(attempt: int, chance: float) -> float | None:
    """Seconds from the failure of a try (the first is 1) to the next one; None: it was the last. `chance`: 0 to 1."""
    if attempt > len(GAPS):
        return None
    return GAPS[attempt - 1] * (1 + JITTER * (2 * chance - 1))


def read_wish(header: str | None, now: datetime) -> float:
    """Seconds that a `Retry-After` asks for, at most an hour; 0 for what is none."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return LONGEST_WISH if len(text) > 9 else min(float(text), LONGEST_WISH)
    try:
        then = parsedate_to_datetime(text)
        wish = (then if then.tzinfo else then.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return min(max(0.0, wish.total_seconds()), LONGEST_WISH)


def judge(reply: Reply) -> Answer:
    """What an answer means: any 2xx takes the message, a redirect is followed by nobody."""
    status = reply.status
    if 200 <= status < 300:
        return Answer(status, None)
    if status == GONE:
        return Answer(status, "gone")
    wish = read_wish(reply.headers.get("retry-after"), datetime.now(UTC)) if status in BUSY else 0.0
    return Answer(status, "redirected" if 300 <= status < 400 else "refused", wish)


class Deliveries:
    """One thread claims what is due, and starts a thread for each try. Any number of processes may have one."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        outbound: Outbound,
        counts: Counts | None = None,
        *,
        every: float = POLL,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`outbound`: with `TRY_SECONDS` as its time."""
        self._settings, self._sessions, self._outbound = settings, sessions, outbound
        self._webhooks = Webhooks(sessions)
        self._counts = counts or Counts()
        self._every, self._chance = every, chance
        self._lock = threading.Lock()
        self._trying: dict[threading.Thread, Claimed] = {}
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Begin no more tries, and give those on their way a moment; another process makes the rest again."""
        self._stopped = True
        self._wake.set()
        until = time.monotonic() + CLOSING
        for thread in (self._thread, *self._trying.copy()):
            if thread.is_alive():
                thread.join(timeout=max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            try:
                self._begin_due()
            except SQLAlchemyError as error:
                log.warning("webhooks_not_claimed", error=type(error).__name__)
            except Exception:
                log.exception("webhooks_crashed")
            self._wake.wait(self._every)

    def _begin_due(self) -> None:
        with self._sessions.begin() as session:
            disabled = webhooks.end_disabled(session)
        self._counts.add(WEBHOOKS, disabled, outcome="disabled")
        while not self._stopped and (claimed := self._claim()):
            thread = threading.Thread(target=self._work, args=(claimed,), name="webhook", daemon=True)
            with self._lock:
                self._trying[thread] = claimed
            try:
                thread.start()
            except RuntimeError:  # there are no more threads to be had: it is tried again after its lease
                with self._lock:
                    del self._trying[thread]
                raise

    def _claim(self) -> Claimed | None:
        with self._lock:
            trying = list(self._trying.values())
        if len(trying) >= PLACES:
            return None
        accounts = Counter(claimed.user_id for claimed in trying)
        full = [user_id for user_id, number in accounts.items() if number >= PLACES_OF_ACCOUNT]
        busy = [(claimed.user_id, claimed.host) for claimed in trying]
        with self._sessions.begin() as session:
            return webhooks.claim(session, lease=LEASE, busy=busy, full=full)

    def _work(self, claimed: Claimed) -> None:
        try:
            self._deliver(claimed)
        except SQLAlchemyError as error:  # it is tried again after its lease
            log.warning("webhook_not_noted", delivery_id=str(claimed.id), error=type(error).__name__)
        except Exception:
            log.exception("webhook_crashed", delivery_id=str(claimed.id))
        finally:
            with self._lock:
                del self._trying[threading.current_thread()]
            self._wake.set()

    def _deliver(self, claimed: Claimed) -> None:
        keys = self._webhooks.signing(claimed.user_id).keys
        began = time.monotonic()
        answer = self._send(claimed, keys)
        tried = Tried(answer.status_code, answer.error, time.monotonic() - began)
        failpoint("webhook_answered")
        with self._sessions.begin() as session:
            if not webhooks.hold(session, claimed):
                log.warning("webhook_taken_away", delivery_id=str(claimed.id))
                return
            webhooks.note(session, claimed, tried)
            if answer.error is None:
                webhooks.deliver(session, claimed)
                status = "delivered"
            else:
                delay = delay_after(claimed.attempt, self._chance())
                status = webhooks.put_off(
                    session,
                    claimed,
                    delay=None if delay is None else max(delay, answer.wish),
                    gone=answer.status_code == GONE,
                    give_up=self._settings.webhook_give_up_seconds,
                )
        outcome = "retried" if status == "pending" else status
        self._counts.add(WEBHOOKS, outcome=outcome)
        # Without the path, which may be a secret of the receiver's.
        named = {"delivery_id": str(claimed.id), "attempt": claimed.attempt}
        log.info("webhook_tried", **named, outcome=outcome, why=tried.error)

    def _send(self, claimed: Claimed, keys: Sequence[str]) -> Answer:
        body = body_of(claimed.payload)
        headers = signed(claimed.id, int(time.time()), body, keys) | {"Content-Type": "application/json"}
        try:
            return judge(self._outbound.request("POST", claimed.url, headers=headers, content=body))
        except UrlNotFetched:
            return Answer(None, "unreachable")  # one word for all reasons: what differs would tell of our networks
        except Exception:
            log.exception("webhook_not_sent", delivery_id=str(claimed.id))
            return Answer(None, "internal_error")
