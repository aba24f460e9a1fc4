"""The deployment's files, read for the tests that compare them with the code."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from app.core.config import PROJECT_ROOT, Settings
from app.embedded.ports import HOST
from app.embedded.programs import APPLICATION, application_command
from app.embedded.state import State

PORT = 8000
# What other programs read: Python and the loader.
FOREIGN = {"PATH", "HOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
SETTINGS = {name.upper() for name in Settings.model_fields}
BIN = Path(sys.executable).parent


def read(path: str) -> Any:
    return yaml.safe_load((PROJECT_ROOT / path).read_text())


def compose() -> Any:
    return read("docker-compose.yml")


def in_a_container(name: str) -> list[str]:
    """The command of one of our processes as the supervisor starts it, but open to other hosts."""
    _, *arguments = application_command(name, State(ports={"api": PORT}))
    return ["python", *("0.0.0.0" if word == HOST else word for word in arguments)]  # noqa: S104


COMMANDS = {name: in_a_container(name) for name in APPLICATION}


def foreign(names: Iterable[str]) -> set[str]:
    """The names of variables that nothing of ours reads."""
    return set(names) - SETTINGS - FOREIGN


def seconds(duration: str) -> int:
    """`45s` as a number."""
    assert duration.endswith("s"), duration
    return int(duration[:-1])


def instructions() -> Iterator[tuple[str, str]]:
    """Those of the Dockerfile, each with its arguments on one line."""
    text = re.sub(r"^\s*#.*\n", "", (PROJECT_ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def of_the_image(name: str) -> list[str]:
    """The arguments of an instruction in the last stage, which makes the image."""
    found: list[str] = []
    for instruction, rest in instructions():
        if instruction == "FROM":
            found = []
        elif instruction == name:
            found.append(rest)
    return found


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in of_the_image("ENV") for pair in shlex.split(line))


def fits_schema(schema: str, path: str) -> subprocess.CompletedProcess[str]:
    """Against one of the schemas that check-jsonschema carries."""
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", schema, str(PROJECT_ROOT / path)]
    return subprocess.run(command, text=True, capture_output=True, check=False)


def locked(lock: str) -> dict[str, str]:
    """The versions of a lock file by package."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (PROJECT_ROOT / lock).read_text(), flags=re.MULTILINE))
