"""`quickbg` from the first start to the last stop, as a person uses it."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from app.core.config import PROJECT_ROOT
from app.embedded import locks
from app.embedded.control import find
from app.embedded.layout import Layout
from app.embedded.ports import choose
from app.embedded.programs import PROGRAMS
from tests.conftest import make_environment
from tests.embedded_services import RunningServices, wait_for
from tests.pictures import encoded

# A start takes ten seconds, but most of a minute on a machine where four of them are started at once.
pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("e2e")]


class Shell:
    """Calls `quickbg` in a folder of its own, on data of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout.at(folder / "Bil der; #1 %s 'ü")
        # Not scripts/quickbg: that would change the environment that the tests run in.
        self.command = [sys.executable, "-P", "-m", "app.cli"]

    def __call__(
        self, *arguments: str, code: int = 0, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.command, *arguments, "--data", str(self.layout.data)],
            cwd=self.folder,
            env={**os.environ, **(environment or {})},
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == code, done.stderr + self.logs()
        return done

    @contextmanager
    def foreground(self) -> Iterator[subprocess.Popen[str]]:
        """`quickbg up`, ready."""
        command = [*self.command, "up", "--port", str(choose(())), "--data", str(self.layout.data)]
        with subprocess.Popen(command, cwd=self.folder, text=True, stdout=subprocess.PIPE) as up:
            try:
                assert up.stdout is not None
                assert "ready" in up.stdout.readline(), self.logs()
                yield up
            finally:
                up.kill()

    def lives(self) -> bool:
        return any(locks.is_held(self.layout, program.name) for program in PROGRAMS)

    def kill_all(self) -> None:
        """What a power cut does to the processes."""
        stack = find(self.layout)
        assert stack is not None
        supervisor = int((self.layout.run / "supervisord.pid").read_text())
        for pid in (supervisor, *(process.pid for process in stack.supervisor.processes())):
            os.kill(pid, signal.SIGKILL)

    def tasks(self) -> list[dict[str, str]]:
        """The local user's, newest first."""
        stack = find(self.layout)
        assert stack is not None
        headers = {"Authorization": f"Bearer {self('token').stdout.strip()}"}
        found: list[dict[str, str]] = httpx2.get(f"{stack.address}/api/v1/tasks", headers=headers).json()["tasks"]
        return found

    def logs(self) -> str:
        return "".join(f"\n--- {path}\n{path.read_text()[-2000:]}" for path in self.layout.logs.glob("*.log"))


@pytest.fixture
def quickbg(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell("down")


@pytest.fixture
def small_network(small_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes no time: what is looked at is everything around it."""
    monkeypatch.setenv("MODEL_PATH", small_model)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photo.jpg").write_bytes(encoded())
    return Path("photo.jpg")


def test_up_status_token_remove_down(quickbg: Shell, photo: Path) -> None:
    port = str(choose(()))
    up = quickbg("up", "--detach", "--port", port)
    assert f"http://127.0.0.1:{port}" in up.stdout
    assert f"http://127.0.0.1:{port}" in quickbg("up", "--detach").stdout
    assert "It keeps its port" in quickbg("up", "--detach", "--port", str(choose(())), code=1).stderr
    assert "healthy" in quickbg("status").stdout
    _paste(_curl_line(up.stdout), quickbg.folder)

    (quickbg.folder / "not.jpg").write_bytes(encoded(kind="GIF"))
    removed = quickbg("remove", "photo.jpg", "not.jpg", "--padding", "0", code=1)
    assert removed.stderr.splitlines() == [
        "photo.jpg → photo-cutout.png",
        "not.jpg: Unsupported image format: GIF",
        "1 cut out, 1 failed.",
    ]
    with Image.open(quickbg.folder / "photo-cutout.png") as cutout:
        assert cutout.mode == "RGBA"
        assert cutout.width < 320
    quickbg("remove", "photo.jpg", "-o", "on-white.webp", "--background", "white", "--quality", "best")
    with Image.open(quickbg.folder / "on-white.webp") as laid:
        assert (laid.format, laid.mode) == ("WEBP", "RGB")
        assert laid.getpixel((1, 1)) == pytest.approx((255, 255, 255), abs=3)
    _folder_and_streams(quickbg)

    assert quickbg("restart", "worker").stdout == "worker has been restarted.\n"
    assert "worker_warm" in quickbg("logs", "worker").stdout
    assert quickbg("doctor").stdout.splitlines()[-1] == f"ok     http://127.0.0.1:{port} is healthy"
    assert "stopped" in quickbg("down").stdout
    assert quickbg("status", code=3).stdout == "QuickBG is not running.\n"
    assert not quickbg.lives()


def _folder_and_streams(quickbg: Shell) -> None:
    for name in ("a.png", "sub/b.bmp"):
        (quickbg.folder / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        (quickbg.folder / "in" / name).write_bytes(encoded(kind=name[-3:].upper()))
    whole = ("remove", "-r", "in", "-o", "in/out", "--option", "padding=5")
    assert quickbg(*whole).stderr.splitlines()[-1] == "2 cut out."
    assert quickbg(*whole).stderr == "2 there already.\n"
    (quickbg.folder / "in" / "out" / "sub" / "b-cutout.png").unlink()
    tasks = quickbg.tasks()
    assert quickbg(*whole).stderr.splitlines()[-1] == "1 cut out, 1 there already."
    assert len(quickbg.tasks()) == len(tasks)  # the picture's old task has told it

    command = [*quickbg.command, "remove", "-", "--format", "webp", "--data", str(quickbg.layout.data)]
    piped = subprocess.run(command, input=encoded(), capture_output=True, check=True)
    assert piped.stderr == b""
    with Image.open(BytesIO(piped.stdout)) as cutout:
        assert cutout.format == "WEBP"


@pytest.mark.usefixtures("small_network")
def test_after_a_power_cut_everything_is_there(quickbg: Shell, photo: Path) -> None:
    quickbg("up", "--detach", "--port", str(choose(())))
    quickbg("remove", str(photo))
    before = quickbg.tasks()
    assert [task["status"] for task in before] == ["completed"]
    quickbg.kill_all()
    up = quickbg("up", "--detach", "--port", str(choose(())))
    assert "Starting everything" in up.stderr
    assert [task["task_id"] for task in quickbg.tasks()] == [before[0]["task_id"]]
    quickbg("remove", str(photo), "--force")
    _kill_supervisor(quickbg)
    wait_for(lambda: not quickbg.lives(), "nothing stays behind")
    quickbg("status", code=3)


@pytest.mark.usefixtures("small_network")
def test_servers_of_ones_own_take_the_place_of_the_embedded_ones(
    quickbg: Shell, photo: Path, services: RunningServices, tmp_path: Path
) -> None:
    own = make_environment(services, "own_test", tmp_path) | {"ENV": "production"}
    own["REDIS_URL"] = own["REDIS_URL"].removesuffix("/0") + "/3"
    names = ("ENV", "DATABASE_URL", "REDIS_URL", "SECRET_KEY")
    own = {name: value for name, value in own.items() if name in names or name.startswith(("AWS", "S3"))}
    up = quickbg("up", "--detach", "--port", str(choose(())), environment=own)
    for variable in ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT_URL"):
        assert f"{variable} is set: your own server is used" in up.stderr
    assert not (quickbg.layout.postgres).exists()
    status = quickbg("status", environment=own).stdout
    assert "postgres " not in status
    assert "health: healthy" in status
    quickbg("remove", str(photo), environment=own)
    refused = quickbg("token", code=1).stderr
    assert "SECRET_KEY, not set here: put that in .env" in refused
    assert "your own" in quickbg("restart", "postgres", code=1, environment=own).stderr
    quickbg("down")
    again = quickbg("up", "--detach", "--port", str(choose(())))
    assert "Note: DATABASE_URL was set at the last start and is not now." in again.stderr


@pytest.mark.usefixtures("small_network")
def test_remove_alone_starts_what_it_needs_and_stops_it(quickbg: Shell, photo: Path) -> None:
    quickbg("remove", str(photo), "-o", "out/")
    assert (quickbg.folder / "out" / "photo-cutout.png").exists()
    quickbg("status", code=3)
    assert not quickbg.lives()


@pytest.mark.usefixtures("small_network")
def test_ctrl_c_stops_a_foreground_start_in_order(quickbg: Shell) -> None:
    with quickbg.foreground() as up:
        up.send_signal(signal.SIGINT)
        assert up.wait(150) == 0, quickbg.logs()
    quickbg("status", code=3)
    assert not quickbg.lives()


@pytest.mark.usefixtures("small_network")
def test_a_start_that_is_interrupted_early_ends_soon(quickbg: Shell) -> None:
    command = [*quickbg.command, "up", "--detach", "--port", str(choose(())), "--data", str(quickbg.layout.data)]
    with subprocess.Popen(command, cwd=quickbg.folder) as up:
        wait_for(lambda: (quickbg.layout.run / "supervisord.conf").exists(), "the supervisor is being started")
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 130
    quickbg("status", code=3)
    assert not quickbg.lives()


@pytest.mark.usefixtures("small_network")
def test_a_supervisor_that_dies_is_no_normal_end(quickbg: Shell) -> None:
    with quickbg.foreground() as up:
        _kill_supervisor(quickbg)
        assert up.wait(60) == 1
    wait_for(lambda: not quickbg.lives(), "everything is gone")


@pytest.mark.usefixtures("small_network")
def test_a_killed_start_takes_everything_along(quickbg: Shell) -> None:
    with quickbg.foreground() as up:
        up.kill()
    wait_for(lambda: not quickbg.lives(), "everything is gone")
    quickbg("status", code=3)


def _kill_supervisor(quickbg: Shell) -> None:
    os.kill(int((quickbg.layout.run / "supervisord.pid").read_text()), signal.SIGKILL)


def _curl_line(said: str) -> str:
    return next(line.strip() for line in said.splitlines() if line.strip().startswith("curl "))


def _paste(line: str, folder: Path) -> None:
    """What the line says, with the token minted by this environment's command."""
    script = shlex.quote(str(PROJECT_ROOT / "scripts" / "quickbg"))
    assert f"$({script} token --data " in line
    ours = line.replace(script, shlex.join([sys.executable, "-P", "-m", "app.cli"]))
    done = subprocess.run(
        ["bash", "-c", ours], cwd=folder, text=True, capture_output=True, check=True, env=os.environ | {"no_proxy": "*"}
    )
    assert '"status":"queued"' in done.stdout.replace(" ", "")
