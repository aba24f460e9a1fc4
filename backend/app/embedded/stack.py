"""The embedded services together, and the settings that lead the application to them."""

import os
from collections.abc import Iterable
from pathlib import Path

from app.embedded import postgres, seaweedfs, valkey
from app.embedded.given import SECRET, external, given, variable_of
from app.embedded.layout import PROJECT_ROOT, EmbeddedError, Layout
from app.embedded.programs import SERVICES
from app.embedded.service import Service
from app.embedded.state import State

_SERVICES = {"postgres": postgres.service, "valkey": valkey.service, "seaweedfs": seaweedfs.service}


def service(layout: Layout, state: State, name: str) -> Service:
    """One of the services of a data folder, which exists."""
    return _SERVICES[name](layout, state)


def services(layout: Layout, state: State) -> tuple[Service, ...]:
    """All that are embedded."""
    return tuple(service(layout, state, name) for name in SERVICES if name not in state.external)


def settings_environment(layout: Layout, state: State) -> dict[str, str]:
    """The variables that `Settings` reads; they win over the caller's environment and `.env`.

    What the person has set himself is not among them.
    """
    ours = {
        "postgres": {"DATABASE_URL": postgres.url(state)},
        "valkey": {"REDIS_URL": valkey.url(state)},
        "seaweedfs": _s3_environment(state),
        SECRET: {SECRET: state.secret_key},
    }
    environment = {
        "MODEL_CACHE_DIR": str(model_cache_dir()),
        "LOG_DIR": str(layout.logs),
        "METRICS_OPEN": given().get("METRICS_OPEN", "true"),  # nobody but this machine can ask
    }
    for name, variables in ours.items():
        if name not in state.external:
            environment |= variables
    return environment


def _s3_environment(state: State) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": state.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": state.s3_secret_key,
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": "us-east-1",
        "S3_ENDPOINT_URL": seaweedfs.url(state),
        "S3_PUBLIC_ENDPOINT_URL": "",
        "S3_BUCKET_NAME": seaweedfs.BUCKET,
        "S3_FORCE_PATH_STYLE": "true",
    }


def secret_key(state: State) -> str:
    """What tokens are signed with.

    Raises:
        EmbeddedError: it is the person's own, and is not set here.
    """
    require_given(state, (SECRET,))
    return given()[SECRET] if SECRET in state.external else state.secret_key


def require_given(state: State, names: Iterable[str]) -> None:
    """Raise when one of these is the person's own since the last start, and is not set where this command runs."""
    missing = set(names) & set(state.external) - set(external(given()))
    if missing:
        variables = " and ".join(sorted(variable_of(name) for name in missing))
        raise EmbeddedError(f"This data folder runs with your own {variables}, not set here: put that in .env.")


def model_cache_dir() -> Path:
    """Where the weights are: the same for every data folder, unless the caller says otherwise."""
    return Path(os.environ.get("MODEL_CACHE_DIR") or PROJECT_ROOT / "var" / "models")
