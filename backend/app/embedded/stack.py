"""The embedded services together, and the settings that lead the application to them."""

import os
from collections.abc import Iterable
from pathlib import Path

from app.embedded import postgres, seaweedfs, valkey
from app.embedded.layout import PROJECT_ROOT, Layout
from app.embedded.programs import SERVICES
from app.embedded.service import Service
from app.embedded.state import State

_SERVICES = {"postgres": postgres.service, "valkey": valkey.service, "seaweedfs": seaweedfs.service}


def service(layout: Layout, state: State, name: str) -> Service:
    """One of the services of a data folder, which exists."""
    return _SERVICES[name](layout, state)


def services(layout: Layout, state: State) -> tuple[Service, ...]:
    """All of them."""
    return tuple(service(layout, state, name) for name in SERVICES)


def settings_environment(layout: Layout, state: State) -> dict[str, str]:
    """The variables that `Settings` reads; they win over the caller's environment and `.env`."""
    return {
        "DATABASE_URL": postgres.url(state),
        "REDIS_URL": valkey.url(state),
        "CELERY_BROKER_URL": "",
        "AWS_ACCESS_KEY_ID": state.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": state.s3_secret_key,
        "AWS_REGION": "us-east-1",
        "S3_ENDPOINT_URL": seaweedfs.url(state),
        "S3_PUBLIC_ENDPOINT_URL": "",
        "S3_BUCKET_NAME": seaweedfs.BUCKET,
        "S3_FORCE_PATH_STYLE": "true",
        "SECRET_KEY": state.secret_key,
        "MODEL_CACHE_DIR": str(model_cache_dir()),
        "LOG_DIR": str(layout.logs),
    }


def model_cache_dir() -> Path:
    """Where the weights are: the same for every data folder, unless the caller says otherwise."""
    return Path(os.environ.get("MODEL_CACHE_DIR") or PROJECT_ROOT / "var" / "models")


def shadowed(names: Iterable[str]) -> list[str]:
    """Which of these variables, the caller's own, name services that the embedded ones replace."""
    ours = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "S3_ENDPOINT_URL")
    given = {name.upper() for name in names}
    return [name for name in ours if name in given]
