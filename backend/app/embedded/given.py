"""What the person has set himself, in the environment or in `.env`: it decides which services are embedded."""

import os
from collections.abc import Mapping

from dotenv import dotenv_values

from app.embedded.layout import PROJECT_ROOT

# Naming one of these names a server of one's own; that service is then not embedded.
NAMED_BY = {
    "postgres": ("DATABASE_URL",),
    "valkey": ("REDIS_URL",),
    "seaweedfs": ("S3_ENDPOINT_URL", "S3_BUCKET_NAME", "S3_BUCKET"),
}
SECRET = "SECRET_KEY"  # noqa: S105 - the name of a variable


def given() -> dict[str, str]:
    """Every variable that is set and not empty, by its name in capitals; the environment goes before `.env`."""
    found: dict[str, str | None] = {**dotenv_values(PROJECT_ROOT / ".env"), **os.environ}
    return {name.upper(): value for name, value in found.items() if value}


def external(variables: Mapping[str, str]) -> tuple[str, ...]:
    """What is the person's own: the services by name, and the secret."""
    services = tuple(name for name, names in NAMED_BY.items() if any(each in variables for each in names))
    return (*services, SECRET) if SECRET in variables else services


def variable_of(name: str) -> str:
    """The variable that stands for a service of one's own."""
    return NAMED_BY[name][0] if name in NAMED_BY else SECRET
