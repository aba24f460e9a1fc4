"""Random faults under load, and then the question whether anything was lost."""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from heapq import heappop, heappush

from sqlalchemy import text

from tests.embedded_services import wait_for
from tests.faults import checker
from tests.faults.client import ACCOUNTS, Client, Record, Upload, tally, uploading
from tests.faults.expectation import expectation
from tests.faults.nemesis import Planned, catalogue, choose, plan
from tests.faults.stack import Stack

QUIET = 60.0  # seconds after the last fault within which every task is over
SHOWN = 5  # findings of a kind
NAMES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|-\d+\b")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """A run. `faults`: names or groups; none: all."""

    seed: int
    seconds: float
    rate: float = 5.0
    every: float = 5.0
    faults: Sequence[str] = ()


@dataclass
class Outcome:
    """What a run came to. No findings: all is well."""

    record: Record
    faults: list[str] = field(default_factory=list)
    quiet_after: float = 0.0
    findings: list[str] = field(default_factory=list)

    def report(self, wish: Wish) -> str:
        record, uploads = self.record, len(self.record.uploads)
        lines = [
            f"seed {wish.seed}: {len(self.faults)} faults, {uploads} pictures: {record.count('ok')} accepted,"
            f" {record.count('fail')} refused, {record.count('unknown')} unknown",
            f"accepted within {record.latency(0.5):.2f} s (median), {record.latency(0.99):.2f} s (99 %);"
            f" answers: {tally(record.statuses)}",
            f"quiet {self.quiet_after:.1f} s after the last fault",
        ]
        verdict = f"{len(self.findings)} findings" if self.findings else "nothing was lost"
        return "\n".join([*lines, *_by_kind(self.findings), verdict])


def _by_kind(findings: Sequence[str]) -> Iterator[str]:
    """One cause has many: the first few of those that differ by the name of the task only."""
    kinds = defaultdict[str, list[str]](list)
    for finding in findings:
        kinds[NAMES.sub("", finding)].append(finding)
    for alike in kinds.values():
        yield from (f"FOUND: {finding}" for finding in alike[:SHOWN])
        if len(alike) > SHOWN:
            yield f"       and {len(alike) - SHOWN} more like these"


def run(stack: Stack, wish: Wish, say: Say = lambda line: None) -> Outcome:
    """Load and faults, then healing and quiet, then the checks. Nothing of ours runs afterwards."""
    timing = stack.settings.timing
    faults = choose(catalogue(timing.lease, stack.away), wish.faults)
    expected = expectation(stack.settings)
    planned = list(plan(faults, seed=wish.seed, seconds=wish.seconds, every=wish.every))
    stack.forget()
    stack.up()
    client = Client(lambda: stack.url, [stack.account() for _ in range(ACCOUNTS)], f"chaos-{wish.seed}")
    outcome = Outcome(client.record)
    try:
        with uploading(client, wish.rate) as sent:
            _harm(stack, planned, wish.seconds, outcome.faults, say)
        outcome.findings += _settle(stack, client, sent, outcome)
    finally:
        client.giving_up.set()
        stack.down()
        client.close()
    stack.age_leftovers()
    outcome.findings += checker.check(stack.settings, stack.sessions, stack.store, client.record, expected)
    return outcome


def _settle(stack: Stack, client: Client, sent: Sequence[Future[Upload]], outcome: Outcome) -> Iterator[str]:
    """All is whole again: within a minute every client knows what it wants to know, and every task is over."""
    healed = time.monotonic()
    if not _wait(stack.is_ready):
        yield f"the service was not ready {QUIET:.0f} s after the last fault"
        return
    # What has died with a key in its hand is surely dead by now; the minute that it may take need not pass.
    stack.age_locks()
    _wait(lambda: all(each.done() for each in sent))
    client.giving_up.set()
    _wait(lambda: all(each.done() for each in sent))
    if not _wait(lambda: not _unfinished(stack), healed + QUIET - time.monotonic()):
        yield f"{_unfinished(stack)} tasks were not over {QUIET:.0f} s after the last fault"
    # Late is not lost: whatever still moves may go on.
    while (left := _unfinished(stack)) and _wait(lambda: _unfinished(stack) < left):
        pass
    outcome.quiet_after = time.monotonic() - healed


def _harm(stack: Stack, planned: Sequence[Planned], seconds: float, done: list[str], say: Say) -> None:
    """All the faults at their times; each is taken back at its own, or at the end."""
    begun = time.monotonic()
    undo: list[tuple[float, int, Callable[[], None]]] = []

    def wait_until(at: float) -> None:
        while undo and undo[0][0] <= at:
            due, _, take_back = heappop(undo)
            _sleep(begun + due)
            take_back()
        _sleep(begun + at)

    try:
        for number, each in enumerate(planned):
            wait_until(each.at)
            took = f"{each.until - each.at:.1f} s" if each.until > each.at else "at once"
            say(f"{time.monotonic() - begun:7.1f}  {each.fault.name:18} {took}")
            done.append(each.fault.name)
            heappush(undo, (each.until, number, each.fault.act(stack)))
        wait_until(seconds)
    finally:
        for _, _, take_back in sorted(undo):
            take_back()


def _sleep(until: float) -> None:
    time.sleep(max(0.0, until - time.monotonic()))


def _wait(condition: Callable[[], bool], seconds: float = QUIET) -> bool:
    try:
        wait_for(condition, "all is quiet", seconds=seconds, every=0.2)
    except AssertionError:
        return False
    return True


def _unfinished(stack: Stack) -> int:
    with stack.engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM tasks WHERE finished_at IS NULL")).scalar_one())
