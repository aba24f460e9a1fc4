"""The page that shows the API, and its files: our own copies of Swagger UI, so that no browser asks anybody else."""

import base64
import hashlib
import re
from importlib.resources import files

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

DOCS = "/api/v1/docs"
OPENAPI = "/api/v1/openapi.json"
TYPES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def install(app: FastAPI) -> None:
    """Add the page and its files to the app."""
    page = get_swagger_ui_html(
        openapi_url=OPENAPI,
        title=app.title,
        swagger_js_url=f"{DOCS}/swagger-ui-bundle.js",
        swagger_css_url=f"{DOCS}/swagger-ui.css",
        swagger_favicon_url=f"{DOCS}/favicon.png",
    )
    html = bytes(page.body).decode()
    app.include_router(_router(html, _policy(html)))


def _policy(html: str) -> str:
    """The page may run its own script and our copies, call this API, and nothing else."""
    digests = (hashlib.sha256(script.encode()).digest() for script in SCRIPT.findall(html))
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _router(html: str, policy: str) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    static = files("fastapi_offline") / "static"

    @router.get(DOCS)
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    @router.get(DOCS + "/{name}")
    def file(name: str) -> FileResponse:
        if name not in TYPES:
            raise HTTPException(404)
        return FileResponse(str(static / name), media_type=TYPES[name], headers={"Cache-Control": "max-age=86400"})

    return router
