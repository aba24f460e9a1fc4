"""The API's composition root. `python -m app.api.server` serves it; importing this module does nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from fastapi import FastAPI
from starlette.types import Lifespan

from app.api import docs, errors, middleware, process
from app.api.bodies import MAX_JSON
from app.api.compat import rembg, removebg, removebg_account, removebg_improve, studio
from app.api.deps import Services
from app.api.drain import Drain
from app.api.metrics import Metrics
from app.api.v1 import batches
from app.api.v1.health import health_router, metrics_router, root_router
from app.api.v1.router import router
from app.api.v2 import images as v2_images
from app.api.waiting import describe_streams, end_waits_on_stop
from app.core.config import Settings, load_settings
from app.core.logging import configure_logging, get_logger
from app.db.base import Sessions, make_engine, make_sessions
from app.services.accounts import GUESTS, Accounts
from app.services.administration import Administration
from app.services.api_keys import ApiKeys
from app.services.changes import Changes
from app.services.control import Control
from app.services.counting import Bookkeeping, Counts
from app.services.fleet import Fleet
from app.services.given_up import GivenUp
from app.services.improving import Improving
from app.services.limiter import Limiter
from app.services.limits import Limits
from app.services.logins import Logins
from app.services.parts import impatient_redis, make_batches, make_health
from app.services.pipelines import Pipelines
from app.services.retention import Retention
from app.services.throttle import Throttle
from app.services.usage import Usages
from app.services.webhooks import Webhooks
from app.storage.base import ObjectStore
from app.storage.s3 import S3Store
from app.tasks.publishing import BackgroundBell, Publisher
from app.version import VERSION

THREADS = 40  # that endpoints run in; each may need a database connection

log = get_logger(__name__)


def create_app(settings: Settings | None = None, *, store: ObjectStore | None = None) -> FastAPI:
    """The API with the parts it works on; `store` stands in for S3 in tests."""
    settings = settings or load_settings()
    configure_logging(settings.log_level)
    db = make_engine(settings.sqlalchemy_url, pool_size=10, max_overflow=THREADS - 10)
    sessions = make_sessions(db)
    # Of its own, so that a busy pool is not mistaken for a database that is down.
    health_db = make_engine(settings.sqlalchemy_url, pool_size=5, max_overflow=0)
    store = store or S3Store(settings)
    publisher = Publisher(settings)
    counts = Counts()
    bookkeeping = Bookkeeping(counts, sessions, settings.timing.heartbeat)
    bell = BackgroundBell(publisher, sessions, counts, by="api")
    pinged = impatient_redis(settings)
    health = make_health(settings, make_sessions(health_db), store, pinged, publisher.ready)
    metrics = _metrics(settings, make_sessions(health_db))
    drain = Drain(settings.drain_seconds)
    changes = Changes(settings.sqlalchemy_url)
    limits = Limits(settings, Limiter(settings.redis_url.get_secret_value(), counts), counts)
    intake = make_batches(settings, sessions, store, bell, limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for started in (bell, bookkeeping, changes):
            started.start()
        drain.install()
        end_waits_on_stop(changes)
        yield
        for part in (changes, bell, bookkeeping, metrics, health, publisher, pinged, limits.limiter):
            part.close()
        health_db.dispose()
        db.dispose()

    app = _routed(lifespan, settings, drain, metrics)
    app.state.services = Services(
        settings=settings,
        accounts=Accounts(settings, sessions),
        logins=Logins(settings, sessions, Throttle(sessions)),
        api_keys=ApiKeys(sessions),
        imports=intake.imports,
        given_up=GivenUp(sessions, intake.imports, intake.statuses),
        batches=intake,
        statuses=intake.statuses,
        control=Control(sessions, store, bell, limits, intake.submissions),
        administration=Administration(sessions, bell),
        retention=Retention(settings, sessions, store),
        health=health,
        metrics=metrics,
        drain=drain,
        changes=changes,
        limits=limits,
        usages=Usages(sessions, limits),
        webhooks=Webhooks(sessions),
        recipes=intake.orders.recipes,
        orders=intake.orders,
        pipelines=Pipelines(sessions, intake.statuses),
        improving=Improving(settings, store, limits),
    )
    return app


def _routed(lifespan: Lifespan[FastAPI], settings: Settings, drain: Drain, metrics: Metrics) -> FastAPI:
    app = FastAPI(
        title="QuickBG",
        version=VERSION,
        summary="Background removal that you host yourself",
        # The page is our own (`docs`), and paths are exact: a redirect would be made out of the Host header.
        docs_url=None,
        redoc_url=None,
        openapi_url=docs.OPENAPI if settings.docs_enabled else None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    errors.install(app)
    describe_streams(app)
    # Here and not on the app, whose own limit answers outside of our layers.
    app.include_router(router, max_body_size=middleware.largest_body(settings))
    app.include_router(batches.router, prefix=router.prefix, max_body_size=settings.max_batch_bytes)
    app.include_router(v2_images.router, max_body_size=MAX_JSON)
    app.include_router(process.router, max_body_size=MAX_JSON)
    app.include_router(studio.router, max_body_size=middleware.largest_body(settings))
    app.include_router(rembg.router, max_body_size=middleware.largest_body(settings))
    app.include_router(removebg.router, max_body_size=middleware.largest_body(settings))
    app.include_router(studio.batch_router, max_body_size=settings.max_batch_bytes)
    app.include_router(removebg_account.router)
    app.include_router(removebg_improve.router, max_body_size=middleware.largest_body(settings))
    app.include_router(health_router)
    app.include_router(metrics_router)
    app.include_router(root_router)
    if settings.open_doors:
        why = "OPEN_DOORS=true: whoever reaches this server may use it; TRUSTED_HOSTS keeps pages of strangers out"
        log.warning("doors_open", account=GUESTS, why=why)
    if settings.docs_enabled:
        docs.install(app)
    middleware.install(app, settings, drain.is_active, metrics.observe)
    return app


def _metrics(settings: Settings, sessions: Sessions) -> Metrics:
    return Metrics(Fleet(sessions, settings.timing))


@cache
def _app() -> FastAPI:
    return create_app()


def __getattr__(name: str) -> FastAPI:
    if name == "app":
        return _app()
    raise AttributeError(name)
