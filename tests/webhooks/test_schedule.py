"""When the next try is made."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.client import Reply
from app.services.deliveries import GAPS, delay_after, judge, read_wish

NOW = datetime(2026, 11, 22, tzinfo=UTC)
HOUR, DAY = 3600, 86_400


@given(st.integers(1, len(GAPS)), st.floats(0, 1))
def test_each_gap_is_within_a_fifth_of_what_is_written(attempt: int, chance: float) -> None:
    delay = delay_after(attempt, chance)
    assert delay == pytest.approx(GAPS[attempt - 1], rel=0.2 + 1e-9)


@given(st.floats(0, 1), st.integers(len(GAPS) + 1))
def test_the_gaps_grow_to_a_day_and_then_it_is_over(chance: float, attempt: int) -> None:
    assert delay_after(attempt, chance) is None
    delays = [delay_after(each, 0.5) or 0 for each in range(1, len(GAPS) + 1)]
    assert delays == sorted(delays)
    assert sum(delays) == pytest.approx(DAY, rel=0.02)
    assert delays[0] == 5


@given(st.none() | st.text())
def test_whatever_is_asked_for_it_is_an_hour_at_most(header: str | None) -> None:
    assert 0 <= read_wish(header, NOW) <= HOUR


@given(st.integers(0, 10**30))
def test_seconds_are_read(seconds: int) -> None:
    assert read_wish(f" {seconds} ", NOW) == min(seconds, HOUR)


@given(st.integers(-2 * DAY, 2 * DAY))
def test_dates_are_read(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert read_wish(date, NOW) == min(max(0, seconds), HOUR)


@given(st.integers(100, 599))
def test_every_2xx_takes_the_message_and_nothing_else_does(status: int) -> None:
    answer = judge(Reply(status, httpx2.Headers({"retry-after": "77"}), b"secret"))
    assert answer.status_code == status
    assert (answer.error is None) == (200 <= status < 300)
    assert answer.wish == (77 if status in {429, 503} else 0)
    word = "redirected" if 300 <= status < 400 else "gone" if status == 410 else "refused"
    assert answer.error in {None, word}
