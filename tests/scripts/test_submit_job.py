"""`submit_job.py` and `callback_secret.py`, as they are called; what comes of it with a service is in tests/e2e."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.config import PROJECT_ROOT, Settings
from app.db.base import Sessions
from app.services.accounts import CELERY, Accounts
from app.services.webhooks import Webhooks

SCRIPT = PROJECT_ROOT / "scripts" / "submit_job.py"
JOB = ("--pipeline", "random", "--image-url", "https://example.com/a.jpg")
NOWHERE = "redis://:secret@127.0.0.1:9/0"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(SCRIPT), *arguments]
    done = subprocess.run(
        command, cwd=Path("/"), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stdout + done.stderr
    return done


def test_it_needs_celery_alone() -> None:
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - sys.stdlib_module_names == {"celery"}


def test_help_says_what_to_do() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in (
        "--pipeline",
        "--image-url",
        "--callback-url",
        "--broker-url",
        "--result-backend",
        "--config",
        "--wait",
    ):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "the following arguments are required: --pipeline, --image-url"),
        (JOB, "no broker: --broker-url is needed"),
        ((*JOB, "--broker-url", "http://:secret@host/"), "a URL is expected that begins with one of redis, "),
        ((*JOB, "--broker-url", "redis://:secret@host:port/"), "a URL is expected"),
        ((*JOB, "--broker-url", NOWHERE, "--config", "[]"), "a JSON object like "),
        ((*JOB, "--broker-url", NOWHERE, "--config", "{"), "a JSON object like "),
        ((*JOB, "--broker-url", NOWHERE, "--wait", "3"), "--wait needs --result-backend"),
        ((*JOB, "--broker-url", NOWHERE, "--wait", "nan"), "a number of seconds is expected"),
    ],
)
def test_a_call_that_makes_no_sense_ends_with_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


@pytest.mark.parametrize("broker", [NOWHERE, "amqp://guest:secret@127.0.0.1:9//"])
def test_a_broker_that_is_away_ends_with_a_sentence(broker: str) -> None:
    done = run(*JOB, CELERY_BROKER_URL=broker)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("submit_job: The job could not be sent: the server did not answer")


def test_a_result_that_does_not_come_ends_the_wait(settings: Settings) -> None:
    url = settings.redis_url.get_secret_value().removesuffix("/0") + "/7"  # where no worker is
    done = run(*JOB, "--broker-url", url, "--result-backend", url, "--wait", "0.1")
    assert done.returncode == 1
    assert done.stdout.strip()
    assert done.stderr == "submit_job: There is no result after 0.1 seconds; the job goes on.\n"


def test_the_secret_of_callbacks_is_told(environment: dict[str, str], settings: Settings, sessions: Sessions) -> None:
    script = str(PROJECT_ROOT / "scripts" / "callback_secret.py")
    done = subprocess.run(
        [sys.executable, script], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    user = Accounts(settings, sessions).of_the_house(CELERY)
    assert done.stdout == Webhooks(sessions).signing(user.id).secret + "\n"
