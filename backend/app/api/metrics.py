"""Prometheus text: this process's requests by prometheus_client, the fleet's counts as the database has them."""

import asyncio
import math
import os
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.db.counters import Key, Labels
from app.services.counting import FAMILIES, Family
from app.services.fleet import Facts, Fleet

DEADLINE = 1.5  # seconds for the database; without it the answer has this process's own metrics
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
UNMATCHED = "unmatched"


class Metrics:
    """What `GET /metrics` answers with."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        disable_created_metrics()  # type: ignore[no-untyped-call]
        # Not the global registry: two apps in one process would be in each other's way.
        self._registry = own = CollectorRegistry()
        # Where several server processes share a port, prometheus_client keeps their values in files there.
        if shared := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            Path(shared).mkdir(parents=True, exist_ok=True)
            self._registry = CollectorRegistry()
            MultiProcessCollector(self._registry, shared)  # type: ignore[no-untyped-call]
        self._requests = Counter(
            "quickbg_http_requests_total", "Requests answered.", ("method", "route", "status"), registry=own
        )
        self._seconds = Histogram(
            "quickbg_http_request_seconds",
            "Seconds from a request to the end of its answer.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=own,
        )

    def observe(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        """Count a finished request. Its path and its method are a stranger's: neither becomes a label as it is."""
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = _template(scope)
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def close(self) -> None:
        self._fleet.close()

    async def text(self) -> bytes:
        """All metrics in Prometheus's text format 0.0.4."""
        looked = asyncio.wrap_future(self._fleet.look())
        done, _ = await asyncio.wait([looked], timeout=DEADLINE)
        facts = looked.result() if done else None
        return generate_latest(self._registry) + generate_latest(_Shown(_families(facts)))


def _template(scope: MutableMapping[str, Any]) -> str:
    # The route of an included router knows its own part of the path alone; the whole stands beside it.
    whole = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return getattr(whole, "path_format", UNMATCHED)


class _Shown(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(facts: Facts | None) -> Iterator[Metric]:
    yield _gauge("quickbg_database_up", "Whether the database could be read for this answer.", facts is not None)
    if facts is None:
        return
    for family in FAMILIES:
        yield _histogram(family, facts.totals) if family.buckets else _counter(family, facts.totals)
    depth = GaugeMetricFamily("quickbg_queue_depth", "Tasks that are not over.", labels=("queue", "status"))
    for key, number in sorted(facts.depths.items()):
        depth.add_metric(key, number)
    yield depth
    yield _gauge("quickbg_oldest_due_seconds", "How long the oldest task that is due has waited.", facts.oldest_due)
    yield _gauge("quickbg_backlog_seconds", "The work that waits, in seconds of all workers together.", facts.backlog)
    yield _gauge("quickbg_workers_online", "Warm worker processes that have beaten lately.", facts.workers)
    # Infinite without any, so that an alert on its age hears of that, too.
    age = math.inf if facts.sweeper_age is None else facts.sweeper_age
    yield _gauge("quickbg_sweeper_last_tick_seconds", "Seconds since a sweeper's last tick.", age)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(family: Family, totals: Mapping[Key, float]) -> Metric:
    found = dict.fromkeys(family.known(), 0.0) | _labelled(family.name, totals)
    made = CounterMetricFamily(family.name, family.help)
    for labels, value in sorted(found.items()):
        made.add_sample(family.name, dict(labels), value)
    return made


def _histogram(family: Family, totals: Mapping[Key, float]) -> Metric:
    sums = dict.fromkeys(family.known(), 0.0) | _labelled(f"{family.name}_sum", totals)
    buckets = _labelled(f"{family.name}_bucket", totals)
    bounds = [*(f"{bound:g}" for bound in family.buckets), "+Inf"]
    made = HistogramMetricFamily(family.name, family.help, labels=sorted(family.labels))
    for labels, total in sorted(sums.items()):
        counted = [(bound, buckets.get(tuple(sorted((*labels, ("le", bound)))), 0.0)) for bound in bounds]
        made.add_metric([value for _, value in labels], counted, total)
    return made


def _labelled(name: str, totals: Mapping[Key, float]) -> dict[Labels, float]:
    return {labels: value for (found, labels), value in totals.items() if found == name}
