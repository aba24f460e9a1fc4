"""What the service says about itself; nothing secret in it, and but for the metrics open to everybody."""

from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from app.api.deps import ServicesDep, api_key, authenticate, bearer
from app.api.docs import DOCS
from app.api.errors import responses
from app.api.schemas.service import Alive, EngineInfo, HealthOut, Info, Limits, ModelInfo, OperationInfo, Ready, Root
from app.core.errors import Forbidden, ServiceUnavailable
from app.services.about import offer
from app.services.identity import Scope, scopes_of
from app.version import VERSION

Bearer = Annotated[str | None, Depends(bearer)]
ApiKey = Annotated[str | None, Depends(api_key)]
WATCHING = CapacityLimiter(2)  # threads of its own

# Both under more than one address.
health_router = APIRouter(tags=["service"])
metrics_router = APIRouter(tags=["service"])
root_router = APIRouter(tags=["service"])


@health_router.get(
    "/health", summary="The dependency matrix", responses={503: {"model": HealthOut, "description": "unhealthy"}}
)
def health(services: ServicesDep, response: Response) -> HealthOut:
    matrix = services.health.matrix()
    response.status_code = 503 if matrix.status == "unhealthy" else 200
    return HealthOut(status=matrix.status, version=VERSION, checks=matrix.checks, details=matrix.details)


@root_router.get("/livez", summary="The process runs")
async def livez() -> Alive:
    return Alive()


@root_router.get("/readyz", summary="Requests can be answered", responses=responses(503))
def readyz(services: ServicesDep) -> Ready:
    if services.drain.is_active():
        raise ServiceUnavailable("This server is about to stop.", code="draining")
    if not services.health.ready():
        raise ServiceUnavailable(
            "The database cannot be reached, or is not migrated to this version.", code="not_ready"
        )
    return Ready()


@metrics_router.get(
    "/metrics",
    summary="Counts and gauges for Prometheus",
    response_class=PlainTextResponse,
    responses=responses(401, 403),
)
async def metrics(services: ServicesDep, token: Bearer, key: ApiKey) -> Response:
    # Not by a dependency, which would wait for a thread: whoever watches has to hear of a process that has none left.
    if not services.settings.metrics_open:
        who = await to_thread.run_sync(authenticate, services, token, key, limiter=WATCHING)
        if Scope.METRICS not in who.scopes & scopes_of(who.user):
            message = "Only an administrator, or an API key of one with the scope metrics, may read this."
            raise Forbidden(message, code="insufficient_scope")
    return Response(await services.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@root_router.get("/info", summary="Version, models and their licences, operations, limits")
def info(services: ServicesDep) -> Info:
    made = offer(services.settings)
    engines: dict[str, int] = services.health.matrix().details.get("workers", {}).get("engines", {})
    return Info(
        version=VERSION,
        models=[ModelInfo(name=m.name, licences=list(m.licences), commercial=m.commercial) for m in made.models],
        engines=[
            EngineInfo(name=engine.partition(": ")[0], reason=engine.partition(": ")[2], workers=count)
            for engine, count in engines.items()
        ],
        operations=[OperationInfo(name=o.name, summary=o.summary) for o in made.operations],
        limits=Limits(
            max_image_bytes=made.limits.max_bytes,
            min_image_side=made.limits.min_side,
            max_image_side=made.limits.max_side,
            max_image_pixels=made.limits.max_pixels,
            formats=list(made.formats),
        ),
    )


@root_router.get("/", summary="Where things are", response_model=Root)
def root(request: Request, services: ServicesDep) -> Response:
    page = DOCS if services.settings.docs_enabled else None
    if page and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(page)
    return JSONResponse(Root(docs=page).model_dump())
