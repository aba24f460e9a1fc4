"""What every process of the fleet counts, for those who watch.

Workers and sweepers have no HTTP port, run on any machine and are replaced all the time. So each process adds up in
memory and from time to time adds that to the sums in the database, where any API reads them. A process that is killed
takes the last few seconds of its counts with it: nothing may ever be decided by them.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from sqlalchemy.exc import SQLAlchemyError

from app.core.logging import get_logger
from app.core.states import Stage
from app.db import counters
from app.db.base import Sessions
from app.db.counters import Key, Labels

log = get_logger(__name__)


@dataclass(frozen=True)
class Family:
    """A counter, or (with buckets) a histogram, whose `_bucket` and `_sum` are counters.

    `labels` has the values known beforehand, each with each (or `series`, where not all of them go together): those
    are shown from the start, as 0. An increase from nothing to 1 is seen by nobody.
    """

    name: str
    help: str
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    buckets: Sequence[float] = ()
    series: Sequence[Mapping[str, str]] = ()

    def known(self) -> list[Labels]:
        if self.series:
            return [_sorted(labels) for labels in self.series]
        names = sorted(self.labels)
        return [tuple(zip(names, values, strict=True)) for values in product(*(self.labels[name] for name in names))]


CLAIMS = "quickbg_claims_total"
CLAIMS_REFUSED = "quickbg_claims_refused_total"
REAPS = "quickbg_reaps_total"
FENCED = "quickbg_fenced_total"
RINGS = "quickbg_rings_total"
INFERENCES = "quickbg_inferences_total"
TASKS_ENDED = "quickbg_tasks_ended_total"
STAGE_SECONDS = "quickbg_stage_seconds"
LIMITED = "quickbg_limited_total"
RATE_LIMIT_FALLBACKS = "quickbg_rate_limit_fallbacks_total"
WEBHOOKS = "quickbg_webhooks_total"

OVERDUE = ("queue_timeout", "max_attempts")
# What a task may fail with. Another code is shown from its first time on.
FAILURES = (
    *("worker_lost", "oom", "timeout", "internal_error", "storage_unavailable", "database_unavailable"),
    *("original_missing", "image_corrupt", "image_truncated", "unknown_foreground", *OVERDUE),
)

FAMILIES = (
    Family(CLAIMS, "Attempts that began."),
    Family(CLAIMS_REFUSED, "Messages whose task was not there to be claimed: duplicates, most of them."),
    Family(
        REAPS,
        "Tasks that were taken back from what had become of their worker, or ended as overdue.",
        {"code": ("worker_lost", "oom", "timeout", *OVERDUE)},
    ),
    Family(FENCED, "Attempts that found their task taken away from them."),
    Family(
        RINGS,
        "Messages sent to the broker. 'again': the one before was lost.",
        {"by": ("api", "worker", "sweeper"), "kind": ("first", "again")},
    ),
    Family(INFERENCES, "Pictures that were given to the network."),
    Family(
        TASKS_ENDED,
        "Tasks that were not ended by their owner; 'code' says why one failed.",
        {"status": ("completed", "failed"), "code": ()},
        series=({"status": "completed", "code": ""}, *({"status": "failed", "code": code} for code in FAILURES)),
    ),
    Family(
        STAGE_SECONDS,
        "Seconds that the stages of completed attempts took.",
        {"stage": tuple(str(stage) for stage in Stage)},
        (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
    ),
    Family(
        LIMITED,
        "Requests refused because their account or their address has had its share.",
        {"limit": ("requests", "reads", "megapixels", "logins", "active_tasks", "images")},
    ),
    Family(RATE_LIMIT_FALLBACKS, "Requests counted by one process alone, because Redis did not answer."),
    Family(
        WEBHOOKS,
        "Tries to deliver a webhook, by what became of its message.",
        {"outcome": ("delivered", "retried", "failed", "disabled")},
    ),
)
_BUCKETS = {family.name: family.buckets for family in FAMILIES}


class Counts:
    """What this process has counted and not written down yet. Any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Key, float] = {}

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        """Count `value` more."""
        if value:
            self._add({(name, _sorted(labels)): value})

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Count a value into its histogram."""
        reached = [f"{bound:g}" for bound in _BUCKETS[name] if value <= bound] + ["+Inf"]
        counted: dict[Key, float] = {(f"{name}_bucket", _sorted(labels | {"le": bound})): 1 for bound in reached}
        self._add(counted | {(f"{name}_sum", _sorted(labels)): value})

    def flush(self, sessions: Sessions) -> None:
        """Write down what is held. What cannot be written stays for the next time."""
        with self._lock:
            taken, self._held = self._held, {}
        if not taken:
            return
        try:
            with sessions.begin() as session:
                counters.add(session, taken)
        except SQLAlchemyError as error:
            self._add(taken)
            log.warning("counts_not_written", error=type(error).__name__)

    def _add(self, counted: Mapping[Key, float]) -> None:
        with self._lock:
            for key, value in counted.items():
                self._held[key] = self._held.get(key, 0) + value


class Bookkeeping:
    """Writes the counts down every `seconds`, and at the end.

    A thread of its own: sums that somebody else has locked must hold up neither a lease nor a tick.
    """

    def __init__(self, counts: Counts, sessions: Sessions, seconds: float) -> None:
        self._counts, self._sessions, self._seconds = counts, sessions, seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bookkeeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Write down the rest."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._counts.flush(self._sessions)

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            self._counts.flush(self._sessions)


def _sorted(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))
