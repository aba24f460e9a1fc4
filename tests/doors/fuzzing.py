"""`quickbg fuzz api`: requests that are made out of the API's own description, right ones, wrong ones, and sequences of
them; and whether every answer is one that the description allows.

Made and judged by schemathesis, on a service of its own with real Postgres, Valkey and S3.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from app.core.config import PROJECT_ROOT
from app.core.security import create_access_token
from app.db import users
from app.db.base import make_sessions
from tests.conftest import make_environment
from tests.e2e.conftest import Deployment, deploy
from tests.embedded_services import RunningServices, start_services
from tests.imaging.networks import network

CONFIG = Path(__file__).with_name("schemathesis.toml")
SEED = 20_261
HOURS = 24 * 3600


@contextmanager
def deployed(services: RunningServices, folder: Path, **settings: str) -> Iterator[Deployment]:
    """API, worker and sweeper on a database of their own, with a network that takes no time."""
    model, logs = folder / "small.onnx", folder / "logs"
    model.write_bytes(network())
    logs.mkdir()
    environment = make_environment(services, "doors_test", logs)
    environment |= {"REDIS_URL": environment["REDIS_URL"].removesuffix("/0") + "/3", "MODEL_PATH": str(model)}
    environment |= {"SYNC_WAIT_SECONDS": "0.5", "DROP_IN_WAIT_SECONDS": "0.5", "IMPROVE_ENABLED": "true"}
    with deploy(environment | settings, services) as made:
        yield made


def fuzz(deployment: Deployment, *, cases: int, seed: int) -> int:
    """Up to so many requests for each operation and phase; what is wrong stands on the standard output. 0: nothing."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    command += [f"{deployment.url}/api/v1/openapi.json", f"--max-examples={cases}", f"--seed={seed}", "--no-color"]
    path = os.pathsep.join((str(PROJECT_ROOT / "backend"), str(PROJECT_ROOT)))
    environment = os.environ | {"DOORS_TOKEN": _administrator(deployment), "PYTHONPATH": path}
    # Hypothesis leaves a folder where it runs.
    return subprocess.run(command, cwd=deployment.settings.log_dir, env=environment, check=False).returncode


def _administrator(deployment: Deployment) -> str:
    """A token of one, for whom every door is open. It belongs to no login, so that no logout ends it."""
    user_id = uuid4()
    with make_sessions(deployment.engine).begin() as session:
        made = users.create(session, user_id, f"{user_id}@example.com")
        assert made is not None
        made.role = "admin"
    return create_access_token(user_id, secret=deployment.settings.secret_key.get_secret_value(), ttl_seconds=HOURS)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="quickbg fuzz api",
        description="Starts the whole service in a folder of its own, and sends it requests that are made out of the"
        " API's description, right ones and wrong ones. Ends with 1 when an answer was not as described.",
    )
    parser.add_argument("--cases", type=int, default=200, help="requests for each operation and phase (default: 200)")
    parser.add_argument("--seed", type=int, default=SEED, help="decides every request (default: always the same ones)")
    asked = parser.parse_args(arguments)
    if asked.cases < 1:
        parser.error("cases are 1 or more")
    folder = Path(tempfile.mkdtemp(prefix="quickbg-fuzz-"))
    folder.chmod(0o711)  # the database may run as another user
    found = 1
    try:
        with start_services(folder / "data") as services, deployed(services, folder) as deployment:
            found = fuzz(deployment, cases=asked.cases, seed=asked.seed)
    finally:
        if found:
            sys.stdout.write(f"The logs are in {folder / 'logs'}\n")
        else:
            shutil.rmtree(folder)
    return found
