"""Doors that are tried again and again: what their timing tells, and when they close."""

import random
import time
from statistics import median
from uuid import uuid4

import httpx2
from sqlalchemy import insert

from app.core.errors import NotAuthenticated
from app.core.security import hash_password
from app.db.models import User
from app.services.logins import Logins
from app.services.throttle import Throttle
from tests.faults.figures import Figure, service
from tests.faults.stack import Stack

WRONG = "this is not the password"


def logins(accounts: int = 300) -> Figure:
    """S6: an unknown address, a wrong password and a disabled account take as long; then too many tries."""
    with service() as made:
        times = _times(made, accounts)
        unknown, wrong, disabled = (median(seconds) for seconds in zip(*times, strict=True))
        spread = max(unknown, wrong, disabled) / min(unknown, wrong, disabled) - 1
        one, many = _one_account(made), _one_address(made)
        made.flush()
        made.kill_service("valkey")
        made.revive_service("valkey")
        made.wait_ready()
        after = _try(made, "one@example.com", 7), _try(made, "new@example.com", 99)
        good = spread <= 0.1 and one == [401] * 5 + [429] and many == [401] * 45 + [429] and after == (429, 429)
        return Figure(
            f"unknown {unknown * 1000:.1f} ms, wrong {wrong * 1000:.1f} ms, disabled {disabled * 1000:.1f} ms (medians"
            f" of {accounts}, {spread:.1%} apart); an account's tries {one}, then as many from one address as to"
            f" {len(many)}: {many[-1]}; without Valkey's memory {after}",
            good,
        )


def _times(made: Stack, accounts: int) -> list[tuple[float, float, float]]:
    """Of each account: an address like its own that there is not, a wrong password, and the same while disabled."""
    known = Logins(made.settings, made.sessions, Throttle(made.sessions))
    times = []
    for _ in range(accounts):
        name = str(uuid4())
        rows = [
            {"id": uuid4(), "email": f"{name}{mark}@example.com", "is_active": not mark} for mark in ("", ".disabled")
        ]
        with made.sessions.begin() as session:
            session.execute(insert(User).values(password_hash=hash_password(name)), rows)
        marks = [".unknown", "", ".disabled"]
        random.shuffle(marks)  # so that none is always the first to find the processor's caches cold
        taken = {mark: _time(known, f"{name}{mark}@example.com") for mark in marks}
        times.append((taken[".unknown"], taken[""], taken[".disabled"]))
    return times


def _time(known: Logins, email: str) -> float:
    begun = time.perf_counter()
    try:
        known.log_in(email, WRONG)
    except NotAuthenticated:
        return time.perf_counter() - begun
    raise AssertionError("that was no wrong password")


def _one_account(made: Stack) -> list[int]:
    return [_try(made, "one@example.com", number) for number in range(6)]


def _one_address(made: Stack) -> list[int]:
    """Accounts enough for one address, which has had five tries by now."""
    return [_try(made, f"{number}@example.com", number) for number in range(46)]


def _try(made: Stack, email: str, number: int) -> int:
    """The answer to a wrong password, from an address that claims to be another's."""
    claimed = {"X-Forwarded-For": f"198.51.100.{number}", "Forwarded": f"for=198.51.100.{number}"}
    form = {"username": email, "password": WRONG}
    return httpx2.post(f"{made.url}/api/v1/auth/token", data=form, headers=claimed, timeout=20).status_code
