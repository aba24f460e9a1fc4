"""`python -m app.api.server`: the API on uvicorn, with the bounds that keep hostile input out.

`uvicorn app.main:app` serves it, too, but answers what never reaches the application in its own words, and without
these bounds.
"""

import argparse
from typing import Any

import uvicorn

from app.core.config import load_settings

GRACEFUL = 10  # seconds for the requests that are under way when it stops

OPTIONS: dict[str, Any] = {
    "http": "app.api.protocol:Protocol",
    "ws": "none",
    "proxy_headers": False,  # TRUSTED_PROXIES is the application's own affair
    "server_header": False,
    "access_log": False,  # each request is one line of our own already
    "timeout_graceful_shutdown": GRACEFUL,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m app.api.server", description="Serve the API.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, help="processes on this port (default: 1, or WEB_CONCURRENCY)")
    arguments = parser.parse_args()
    load_settings()  # before the application is imported: who has set them wrongly hears of it at once
    uvicorn.run("app.main:app", **vars(arguments), **OPTIONS)


if __name__ == "__main__":
    main()
