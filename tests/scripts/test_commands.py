"""The plain commands of an operator, with nothing but the settings in their environment."""

import json
import os
import pty
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
import psycopg
import pytest
from alembic.script import ScriptDirectory

from app.core.config import PROJECT_ROOT, Settings
from app.db.base import make_engine, make_sessions
from app.db.migrations import alembic_config
from app.embedded.ports import choose
from app.services.accounts import Accounts
from app.services.logins import Logins
from app.services.retention import Cleaned
from app.services.throttle import Throttle
from tests.conftest import make_environment, make_settings
from tests.embedded_services import RunningServices, wait_for

pytestmark = pytest.mark.xdist_group("e2e")  # a worker takes both cores

BACKEND = PROJECT_ROOT / "backend"
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with the packages of the lock and without the project, as a plain `pip install -r` leaves it."""
    folder = tmp_path_factory.mktemp("plain")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = sysconfig.get_path("purelib", vars={"base": str(folder)})
    # The .pth files of a folder that is named in a .pth file are not read.
    Path(packages, "packages.pth").write_text(sysconfig.get_path("purelib"))
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def bare(services: RunningServices, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """PATH, HOME and the settings; a database, a broker and a bucket that nobody has prepared."""
    made = make_environment(services, "commands_test", tmp_path_factory.mktemp("commands"))
    home = {"PATH": os.environ["PATH"], "HOME": str(tmp_path_factory.mktemp("home"))}
    own = {"REDIS_URL": made["REDIS_URL"].removesuffix("/0") + "/2", "S3_BUCKET_NAME": f"commands-{uuid4()}"}
    return made | home | own


@pytest.fixture(scope="module")
def settings(bare: dict[str, str]) -> Settings:
    return make_settings(bare)


@pytest.fixture(scope="module")
def migrated(python: str, bare: dict[str, str], settings: Settings) -> Settings:
    run(bare, PROJECT_ROOT, python, "-m", "alembic", "upgrade", "head")
    return settings


def run(
    environment: dict[str, str], folder: Path, *command: str, code: int = 0, given: str = ""
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, env=environment, cwd=folder, input=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def script(python: str, name: str) -> tuple[str, str]:
    return python, str(PROJECT_ROOT / "scripts" / name)


def revision(settings: Settings) -> str:
    with psycopg.connect(settings.sqlalchemy_url.replace("+psycopg", "")) as connection:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert found is not None
    return str(found[0])


@pytest.mark.parametrize(
    ("folder", "more", "variables"),
    [
        (PROJECT_ROOT, (), {}),
        (BACKEND, ("-c", "../alembic.ini"), {}),
        (Path("/"), (), {"ALEMBIC_CONFIG": str(PROJECT_ROOT / "alembic.ini")}),
    ],
    ids=["root", "backend", "anywhere"],
)
def test_alembic(
    python: str,
    bare: dict[str, str],
    migrated: Settings,
    folder: Path,
    more: tuple[str, ...],
    variables: dict[str, str],
) -> None:
    run(bare | variables, folder, python, "-m", "alembic", *more, "upgrade", "head")
    assert revision(migrated) == ScriptDirectory.from_config(alembic_config()).get_current_head()


@pytest.mark.parametrize("folder", [PROJECT_ROOT, BACKEND, Path("/")], ids=["root", "backend", "anywhere"])
def test_the_bucket_is_made_once(python: str, bare: dict[str, str], folder: Path) -> None:
    name = f"commands-{uuid4()}"
    own = bare | {"S3_BUCKET_NAME": name}
    command = script(python, "init_storage.py")
    assert run(own, folder, *command).stdout == f"The bucket {name} has been made.\n"
    assert run(own, folder, *command).stdout == f"The bucket {name} is there already.\n"


def test_a_store_that_is_away_is_one_line(python: str, bare: dict[str, str]) -> None:
    done = run(
        bare | {"S3_ENDPOINT_URL": "http://127.0.0.1:9"}, PROJECT_ROOT, *script(python, "init_storage.py"), code=1
    )
    assert done.stderr == "quickbg: The object store cannot be reached.\n"


def test_an_administrator_is_made_promoted_and_left_alone(
    python: str, bare: dict[str, str], migrated: Settings
) -> None:
    db = make_engine(migrated.sqlalchemy_url)
    sessions = make_sessions(db)
    accounts, logins = Accounts(migrated, sessions), Logins(migrated, sessions, Throttle(sessions))
    command = (*script(python, "create-admin.py"), "--email")
    made = run(bare, Path("/"), *command, "Ada@example.com", "--password-stdin", given=PASSWORD + "\n").stdout
    assert made == "Ada@example.com is an administrator now.\n"
    token = logins.log_in("ada@example.com", PASSWORD).access
    assert logins.authenticate(token).user.role == "admin"
    again = run(bare, PROJECT_ROOT, *command, "ada@example.com").stdout
    assert "was an administrator already" in again
    assert logins.authenticate(token).user.role == "admin"
    reset = run(bare, PROJECT_ROOT, *command, "ada@example.com", "--reset-password", "--generate").stdout
    generated = reset.splitlines()[1].removeprefix("Password, shown only here: ")
    logins.log_in("ada@example.com", generated)
    with pytest.raises(Exception, match="not valid"):
        logins.authenticate(token)
    accounts.register("bob@example.com", PASSWORD)
    promoted = run(bare, BACKEND, *command, "bob@example.com").stdout
    assert promoted.startswith("The account bob@example.com is an administrator now; its password is as before")
    bob = logins.log_in("bob@example.com", PASSWORD).access
    assert logins.authenticate(bob).user.role == "admin"
    db.dispose()


@pytest.mark.parametrize(
    ("arguments", "given", "sentence"),
    [
        (["--email", "new@example.com", "--password-stdin"], "short\n", "The password is too short"),
        (["--email", "new@example.com", "--password-stdin"], "", "The password is too short"),
        (["--email", "new@example.com"], "", "There is no terminal to ask for a password"),
        (["--email", "nobody", "--generate"], "", "This is no e-mail address"),
        ([], "", "There is no terminal to ask for the address"),
    ],
)
def test_an_administrator_is_refused_in_one_line(
    python: str, bare: dict[str, str], migrated: Settings, arguments: list[str], given: str, sentence: str
) -> None:
    done = run(bare, PROJECT_ROOT, *script(python, "create-admin.py"), *arguments, code=1, given=given)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"quickbg: {sentence}")


def test_an_administrator_is_asked_for_at_a_terminal(python: str, bare: dict[str, str], migrated: Settings) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        script(python, "create-admin.py"),
        env=bare,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,  # so that it has no other terminal to ask at
    )
    os.close(theirs)
    shown = b""
    for question, answer in (
        (b"address: ", b"carol@example.com"),
        (b"Password: ", PASSWORD.encode()),
        (b"Once more: ", PASSWORD.encode()),
        (b"is an administrator now.", b""),
    ):
        while question not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, answer + b"\n")
    assert process.wait(30) == 0
    os.close(ours)
    assert PASSWORD.encode() not in shown


def test_a_database_that_is_away_or_old_is_one_line(python: str, bare: dict[str, str]) -> None:
    away = bare | {"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:9/x"}
    for name in ("create-admin.py", "run_cleanup.py"):
        arguments = ("--email", "a@example.com", "--generate") if name == "create-admin.py" else ()
        done = run(away, PROJECT_ROOT, *script(python, name), *arguments, code=1)
        assert done.stderr == "quickbg: The database of DATABASE_URL cannot be reached.\n"
        empty = bare | {"DATABASE_URL": bare["DATABASE_URL"].rsplit("/", 1)[0] + "/postgres"}
        done = run(empty, PROJECT_ROOT, *script(python, name), *arguments, code=1)
        assert done.stderr == "quickbg: The database is not of this version: alembic upgrade head\n"


@pytest.mark.parametrize("folder", [PROJECT_ROOT, Path("/")], ids=["root", "anywhere"])
@pytest.mark.parametrize("arguments", [(), ("--dry-run",)], ids=["really", "dry"])
def test_the_cleanup_says_what_it_did(
    python: str, bare: dict[str, str], migrated: Settings, folder: Path, arguments: tuple[str, ...]
) -> None:
    done = run(bare, folder, *script(python, "run_cleanup.py"), *arguments)
    assert Cleaned(**json.loads(done.stdout)) == Cleaned(0, 0, 0, 0)


@contextmanager
def running(environment: dict[str, str], log: Path, *command: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=BACKEND, stdout=output, stderr=output)
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        # uvicorn ends by the very signal that it was sent.
        assert process.wait(30) in {0, -signal.SIGTERM}, log.read_text()


def test_the_server_and_a_worker_of_two(python: str, bare: dict[str, str], migrated: Settings, tmp_path: Path) -> None:
    port = choose(())
    run(bare, PROJECT_ROOT, *script(python, "init_storage.py"))
    api = running(bare, tmp_path / "api.log", python, "-m", "app.api.server", "--port", str(port))
    celery = (python, "-m", "celery", "-A", "app.tasks.celery_app", "worker", "--concurrency=2", "--loglevel=info")

    def workers() -> object:
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/health").json()["details"].get("workers", {}).get("online")
        except httpx2.HTTPError:
            return None

    # What the command line says counts, for the children as well.
    log = tmp_path / "worker.log"
    with api, running(bare | {"WORKER_CONCURRENCY": "1"}, log, *celery):
        wait_for(lambda: workers() == 2, "two children are at work", every=0.2)
        assert '"children": 2' in log.read_text()
