"""Prints `.env.example` from the fields of `Settings`: `python scripts/env_example.py > .env.example`."""

import sys

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.core.config import PROJECT_ROOT, Settings

HEADER = """\
# The settings of QuickBG. Copy to .env and change what you need; what is commented out has the value shown.
# `./scripts/quickbg up` needs none of this: it makes the secrets and the addresses of its services by itself.
"""
# What has no default, with a value that shows its form and that no server accepts as it stands.
EXAMPLES = {
    "secret_key": "",
    "database_url": "postgresql://user:password@localhost:5432/quickbg",
    "redis_url": "redis://:password@localhost:6379/0",
}


def render() -> str:
    lines = [HEADER]
    for name, field in Settings.model_fields.items():
        lines += [f"# {field.description}", _assignment(name, field), ""]
    return "\n".join(lines)


def _assignment(name: str, field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return f"{name.upper()}={EXAMPLES[name]}"
    value = "" if field.default in (None, ()) else str(field.default)
    if isinstance(field.default, bool):
        value = value.lower()
    return f"# {name.upper()}={value.replace(f'{PROJECT_ROOT}/', './')}"


if __name__ == "__main__":
    sys.stdout.write(render())
