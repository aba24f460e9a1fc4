"""Windows that slide: the same in Redis and in the process that stands in for it, and never a wait for a lost Redis."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from app.core.config import DAY, Settings
from app.services import limiter as module
from app.services.counting import RATE_LIMIT_FALLBACKS, Counts
from app.services.limiter import PREFIX, WINDOW, Limiter, Window
from tests.embedded_services import RunningServices, wait_for
from tests.faults.proxy import HEALTHY, Proxies, Toxic

NOBODY = "redis://127.0.0.1:9/0"
SOON = 0.3  # seconds that a request may wait for a Redis that is away


class Counted(Counts):
    """Counts that can be read."""

    @property
    def fallbacks(self) -> float:
        return self._held.get((RATE_LIMIT_FALLBACKS, ()), 0)


@contextmanager
def limiting(url: str) -> Iterator[tuple[Limiter, Counted]]:
    counts = Counted()
    made = Limiter(url, counts)
    yield made, counts
    made.close()


@pytest.fixture
def url(settings: Settings) -> str:
    return settings.redis_url.get_secret_value()


@pytest.fixture
def a_day(monkeypatch: pytest.MonkeyPatch) -> int:
    """A window so long that no test sees its end, wherever that is."""
    monkeypatch.setattr(module, "WINDOW", DAY)
    return DAY


@pytest.fixture(params=["shared", "alone"])
def limiter(request: pytest.FixtureRequest, url: str, a_day: int) -> Iterator[Limiter]:
    """One that has Redis, and one that has not: they do the same."""
    with limiting(url if request.param == "shared" else NOBODY) as (made, counts):
        yield made
    assert (counts.fallbacks > 0) == (request.param == "alone")


@pytest.fixture
def key() -> str:
    return uuid4().hex


@pytest.fixture
def proxied(services: RunningServices, url: str) -> Iterator[tuple[str, Callable[[Toxic], None]]]:
    """Redis by way of a proxy, and what the proxy is to do."""
    port = services.ports["valkey"]
    with Proxies({"valkey": port}) as proxies:
        yield url.replace(f":{port}", f":{proxies.ports['valkey']}"), lambda toxic: proxies.set("valkey", toxic)


def test_what_is_left_goes_down_to_nothing(limiter: Limiter, key: str, a_day: int) -> None:
    taken = [limiter.take(key, 3) for _ in range(5)]
    assert [one.allowed for one in taken] == [True, True, True, False, False]
    assert [one.left for one in taken] == [2, 1, 0, 0, 0]
    assert all(1 <= one.wait <= 2 * a_day for one in taken)
    assert limiter.take(uuid4().hex, 3).allowed  # each has its own


def test_costs_are_whole_or_not_at_all(limiter: Limiter, key: str) -> None:
    assert limiter.take(key, 100, 70).left == 30
    refused = limiter.take(key, 100, 31)
    assert (refused.allowed, refused.left) == (False, 30)
    assert limiter.take(key, 100, 30).allowed


def test_a_window_may_be_another(limiter: Limiter, key: str, a_day: int) -> None:
    assert [limiter.take(key, 2, seconds=100).left for _ in range(3)] == [1, 0, 0]
    assert 1 <= limiter.take(key, 2, seconds=100).wait <= 200 < a_day


def test_what_never_fits_takes_a_whole_window(limiter: Limiter, key: str) -> None:
    assert limiter.take(key, 10, 999).left == 0
    assert not limiter.take(key, 10, 999).allowed


def test_a_look_takes_nothing(limiter: Limiter, key: str) -> None:
    assert [limiter.take(key, 5, 0).left for _ in range(3)] == [5, 5, 5]
    limiter.take(key, 5)
    assert limiter.take(key, 5, 0).left == 4


def test_of_many_at_once_as_many_as_may(limiter: Limiter, key: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda _: limiter.take(key, 50), range(120)))
    assert sum(one.allowed for one in taken) == 50


def test_after_the_wait_there_is_room_and_not_long_before(
    limiter: Limiter, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW", 2)
    for _ in range(2):  # the second round has a window before it
        while (taken := limiter.take(key, 4)).allowed:
            pass
        begun = time.monotonic()
        wait_for(lambda: limiter.take(key, 4).allowed, "there is room again")
        assert taken.wait - 1.05 <= time.monotonic() - begun <= taken.wait + 0.05


def test_processes_share_what_is_in_redis(url: str, key: str) -> None:
    with limiting(url) as (one, _), limiting(url) as (another, _):
        assert [each.take(key, 4).left for each in (one, another, one, another)] == [3, 2, 1, 0]
        assert not one.take(key, 4).allowed


def test_nothing_stays_in_redis(url: str, key: str) -> None:
    with limiting(url) as (limiter, _), redis.Redis.from_url(url) as client:
        limiter.take(key, 4)
        lifetimes = [client.pttl(name) for name in client.scan_iter(f"{PREFIX}{{{key}}}*")]
        assert len(lifetimes) == 1
        assert 0 < lifetimes[0] <= 2 * WINDOW * 1000


def test_a_redis_that_forgets_its_scripts_is_taught_again(url: str, key: str) -> None:
    with limiting(url) as (limiter, counts), redis.Redis.from_url(url) as client:
        limiter.take(key, 4)
        client.script_flush()
        assert limiter.take(key, 4).left == 2
        assert counts.fallbacks == 0


@pytest.mark.parametrize("toxic", [Toxic(black_hole=True), Toxic(reset=True), Toxic(refuse=True)], ids=repr)
def test_a_redis_that_is_lost_holds_nobody_up(
    proxied: tuple[str, Callable[[Toxic], None]], key: str, toxic: Toxic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW", DAY)
    monkeypatch.setattr(module, "BREAK", 1.0)
    url, treat = proxied
    with limiting(url) as (limiter, counts):
        assert limiter.take(key, 5).left == 4
        treat(toxic)
        seconds, left = [], []
        for _ in range(7):
            begun = time.monotonic()
            left.append(limiter.take(key, 5).left)
            seconds.append(time.monotonic() - begun)
        assert max(seconds) < SOON
        assert sorted(seconds)[-2] < 0.05  # one has asked for all
        assert left == [4, 3, 2, 1, 0, 0, 0]  # the same limit, by this process's own count
        assert counts.fallbacks == 7
        treat(HEALTHY)

        def shared() -> bool:
            before = counts.fallbacks
            limiter.take(key, 5, 0)
            return counts.fallbacks == before

        wait_for(shared, "it is asked again")
        assert limiter.take(key, 5).left in {2, 3}  # what was swallowed may have got there after all


windows = st.builds(
    lambda previous, current, turn: Window(previous, turn, current, turn + WINDOW),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.floats(0.001, WINDOW),
)


@given(windows, st.data())
def test_the_wait_is_as_long_as_it_has_to_be(window: Window, data: st.DataObject) -> None:
    limit = data.draw(st.integers(1, 20_000))
    cost = data.draw(st.integers(1, limit))
    wait = window.wait(limit, cost)
    assert 1 <= wait <= 2 * WINDOW + 1
    assert window.used(wait) + cost <= limit
    # A second before, or a little more, there was none.
    assert wait == 1 or window.used(max(0.0, wait - 1.001)) + cost > limit


@given(windows, st.floats(0, 3 * WINDOW), st.floats(0, 3 * WINDOW))
def test_what_is_used_only_gets_less(window: Window, one: float, another: float) -> None:
    sooner, later = sorted((one, another))
    assert window.used(sooner) >= window.used(later) >= 0
