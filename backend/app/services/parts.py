"""What the API and the workers put together alike."""

from collections.abc import Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.core.config import Settings
from app.db.base import Sessions
from app.db.migrations import Schema
from app.services.backlog import Backlog
from app.services.batches import Batches
from app.services.bell import Bell
from app.services.health import Health
from app.services.imports import Imports
from app.services.limits import Limits
from app.services.orders import Orders
from app.services.recipes import Recipes
from app.services.status import Statuses
from app.services.submission import Submissions
from app.storage.base import ObjectStore


def make_batches(settings: Settings, sessions: Sessions, store: ObjectStore, bell: Bell, limits: Limits) -> Batches:
    """Everything that takes pictures in."""
    backlog = Backlog(sessions, settings.timing, settings.max_backlog_seconds)
    submissions = Submissions(settings, sessions, store, bell, backlog, limits)
    imports = Imports(settings, store, submissions)
    orders = Orders(settings, Recipes(sessions))
    statuses = Statuses(sessions, store)
    return Batches(settings, sessions, store, bell, limits, submissions, imports, orders, statuses)


def make_health(
    settings: Settings,
    sessions: Sessions,
    store: ObjectStore,
    pinged: redis.Redis,
    check_broker: Callable[[], object],
) -> Health:
    """`pinged`: that of `impatient_redis`."""
    return Health(
        sessions,
        settings.timing,
        pinged.ping,
        store.check,
        Schema.of_this_code(),
        check_broker if settings.broker_url != settings.redis_url.get_secret_value() else None,
    )


def impatient_redis(settings: Settings) -> redis.Redis:
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_connect_timeout=1,
        socket_timeout=1,
        retry=Retry(NoBackoff(), 0),
    )
