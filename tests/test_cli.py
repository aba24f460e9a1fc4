"""The command line as a person meets it: one clear line and an exit code, and no service for what is wrong anyway."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.security import Kind, read_token
from app.embedded.layout import Layout
from app.embedded.ports import HOST
from app.embedded.state import load_or_create

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def quickbg(tmp_path: Path) -> Run:
    """Run the command in an empty folder."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "app.cli", *arguments],
            cwd=tmp_path,
            env=os.environ | environment,
            text=True,
            capture_output=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    "arguments", [["remove"], ["remove", "--jobs", "0", "a.jpg"], ["watch", "a"], ["up", "--port", "0"], ["no"]]
)
def test_a_wrong_call_is_code_2(quickbg: Run, arguments: list[str]) -> None:
    done = quickbg(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_names_that_contradict_one_another_are_code_2_and_one_line(quickbg: Run, tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).touch()
    done = quickbg("remove", "a.jpg", "a.png", "--data", "data")
    assert done.returncode == 2
    assert done.stderr == "quickbg: Two pictures would both become a-cutout.png.\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--option", "padding"], "--option padding: this is not of the form name=value."),
        (["--quality", "fast"], "quality: Input should be 'balanced' or 'best' (given: 'fast')"),
        (["--format", "gif"], "format: Input should be 'png', 'webp', 'jpg', 'zip' or 'auto' (given: 'gif')"),
        (["-o", "x.jpg"], "format: jpg cannot be transparent: name a background, such as #ffffff (given: 'jpg')"),
        (["--background", "red", "-o", "x.webp", "--format", "png"], "--output x.webp contradicts --format png."),
        (
            ["--background", "reddish"],
            "background: this is no background; write a colour (#rgb, #rrggbb, #rrggbbaa or a name such as white), "
            "linear-gradient(…), blur(…), s3: and a key, or a URL (given: 'reddish')",
        ),
    ],
)
def test_options_that_make_no_sense_are_code_2_and_one_line(
    quickbg: Run, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "a.png").touch()
    done = quickbg("remove", "a.png", *arguments, "--data", "data")
    assert (done.returncode, done.stderr) == (2, f"quickbg: {said}\n")
    assert not (tmp_path / "data").exists()


def test_pictures_that_are_not_there_are_told_without_starting_anything(quickbg: Run, tmp_path: Path) -> None:
    done = quickbg("remove", "nope.jpg", ".", "--data", "data")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        ".: There is no picture in this folder; --recursive looks into its subfolders, too",
        "nope.jpg: There is no such file",
        "0 cut out, 2 failed.",
    ]
    assert not (tmp_path / "data").exists()


def test_what_is_there_already_starts_nothing(quickbg: Run, tmp_path: Path) -> None:
    for name in ("in/a.jpg", "in/sub/b.png", "out/a-cutout.webp", "out/sub/b-cutout.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    done = quickbg("remove", "-r", "in", "-o", "out", "--format", "webp", "--data", "data")
    assert (done.returncode, done.stderr) == (0, "2 there already.\n")
    assert not (tmp_path / "data").exists()


def test_a_folder_of_its_own_is_needed_for_what_is_watched(quickbg: Run, tmp_path: Path) -> None:
    done = quickbg("watch", ".", str(tmp_path), "--data", "data")
    assert done.returncode == 2
    assert done.stderr == "quickbg: The results need a folder of their own; it may lie in the watched one.\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("command", "code"), [("status", 3), ("down", 0)])
def test_nothing_runs(quickbg: Run, command: str, code: int) -> None:
    done = quickbg(command, "--data", "data")
    assert (done.returncode, done.stdout, done.stderr) == (code, "QuickBG is not running.\n", "")


def test_a_token_before_the_first_start_is_one_line(quickbg: Run) -> None:
    done = quickbg("token", "--data", "data")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert " up --data " in done.stderr


def test_a_token_is_all_there_is_on_standard_output(quickbg: Run, tmp_path: Path) -> None:
    layout = Layout.at(tmp_path / "data")
    layout.make()
    state = load_or_create(layout)
    done = quickbg("token", "--data", "data")
    assert (done.returncode, done.stderr) == (0, "")
    claims = read_token(done.stdout.strip(), Kind.ACCESS, secrets=[state.secret_key])
    assert claims.user_id == state.local_user_id


def test_a_damaged_state_is_one_line(quickbg: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "state.json").write_text("{")
    for command in ("status", "token", "down"):
        done = quickbg(command, "--data", "data")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "damaged" in done.stderr


def test_production_needs_servers_and_secrets_of_its_own(quickbg: Run) -> None:
    done = quickbg("up", "--data", "data", ENV="production", REDIS_URL="redis://:4q8vFz0mZb@nowhere/0")
    assert done.returncode == 78
    assert "set DATABASE_URL, S3_ENDPOINT_URL, SECRET_KEY." in done.stderr
    assert "Starting" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_a_full_disk_is_told_before_anything_starts(quickbg: Run, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(disk)], check=False).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    try:
        done = quickbg("up", "--data", str(disk / "data"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 1
    assert "is full: 1" in done.stderr.splitlines()[-1]


def test_a_taken_port_is_told_before_anything_starts(quickbg: Run) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        done = quickbg("up", "--port", str(port), "--data", "data")
    assert done.returncode == 1
    assert f"Port {port} is taken by another program" in done.stderr.splitlines()[-1]
    assert "Starting" not in done.stderr


def test_it_starts_fast(quickbg: Run) -> None:
    """Nothing heavy is loaded for a command that does not need it."""
    script = "import sys, app.cli; print([name for name in sys.modules if name in {HEAVY}])"
    heavy = "{'pydantic', 'numpy', 'cv2', 'onnxruntime', 'sqlalchemy', 'boto3', 'celery', 'fastapi', 'jwt', 'httpx2'}"
    done = subprocess.run(
        [sys.executable, "-c", script.replace("{HEAVY}", heavy)], text=True, capture_output=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"COMMERCIAL_ONLY": "true"}, "COMMERCIAL_ONLY is set"),
        ({"MODEL_PATH": "/none.onnx"}, "The model cannot be read"),
        ({"ENGINE": "cuda"}, "ENGINE=cuda does not work on this machine: No GPU can be used"),
    ],
)
def test_weights_that_cannot_be_used_stop_the_start(quickbg: Run, environment: dict[str, str], said: str) -> None:
    done = quickbg("up", "--data", "data", **environment)
    assert done.returncode == 1
    assert done.stderr.startswith(f"quickbg: {said}")
    assert len(done.stderr.splitlines()) == 1
