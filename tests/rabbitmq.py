"""A real RabbitMQ for the tests: the machine's own, or one unpacked from Debian's packages. Neither needs root.

The Erlang machine is started directly and not by RabbitMQ's scripts, which expect their places under `/usr`.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from app.core.config import PROJECT_ROOT
from app.embedded.ports import HOST, choose, is_free
from app.embedded.service import dies_with_parent
from tests.embedded_services import wait_for

UNPACKED = PROJECT_ROOT / "var" / "test-tools" / "rabbitmq"
LISTS = Path("/var/lib/apt/lists")
ERLANG = (
    *("base", "asn1", "crypto", "eldap", "ftp", "inets", "mnesia", "os-mon", "parsetools", "public-key"),
    *("runtime-tools", "snmp", "ssl", "syntax-tools", "tftp", "tools", "xmerl"),
)
UNPACK_SECONDS = 60.0


class NotHere(Exception):
    """There is no RabbitMQ, and none could be had; the text says why."""


def find() -> Path:
    """The root of a file system with RabbitMQ and Erlang in `usr/lib`. Raises `NotHere`."""
    for root in (Path("/"), UNPACKED):
        if list(root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*")) and list(root.glob("usr/lib/erlang/erts-*")):
            return root
    return _unpack()


def _unpack() -> Path:
    if not (shutil.which("apt-get") and shutil.which("dpkg") and list(LISTS.glob("*_Packages*"))):
        raise NotHere("rabbitmq-server is not installed, and there are no lists of Debian packages to get it from")
    UNPACKED.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=UNPACKED.parent) as folder:
        packages = ("rabbitmq-server", *(f"erlang-{name}" for name in ERLANG))
        download = ("apt-get", "-q", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=10", "download")
        until = time.monotonic() + UNPACK_SECONDS
        try:
            _run(*download, *packages, folder=folder, until=until)
            for package in Path(folder).glob("*.deb"):
                _run("dpkg", "-x", package.name, "root", folder=folder, until=until)
            Path(folder, "root").rename(UNPACKED)
        except (subprocess.SubprocessError, OSError) as error:
            why = type(error).__name__
            raise NotHere(f"rabbitmq-server is not installed, and could not be unpacked: {why}") from error
    return UNPACKED


def _run(*command: str, folder: str, until: float) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=max(1.0, until - time.monotonic()))


@dataclass
class Rabbit:
    """One broker on loopback, with ports, node, cookie and data of its own."""

    root: Path
    data: Path
    port: int = field(default_factory=lambda: choose(()))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.epmd_port = choose((self.port,))
        self.dist_port = choose((self.port, self.epmd_port))
        # The name service of Erlang: started by us, it can be stopped by us.
        self._launch("epmd", "-address", HOST, "-port", str(self.epmd_port))

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self.port}//"

    @property
    def log(self) -> Path:
        return self.data / "rabbitmq.log"

    def start(self) -> None:
        """Start it on the data it has, and wait until it takes connections."""
        loopback = "{" + HOST.replace(".", ",") + "}"
        self._launch(
            *("erlexec", "-noinput", "-boot", "start_sasl", "-s", "rabbit", "boot"),
            *("-kernel", "inet_dist_use_interface", loopback),
        )
        process = self.processes["erlexec"]
        wait_for(lambda: process.poll() is not None or not is_free(self.port), "RabbitMQ listens")
        assert process.poll() is None, self.log.read_text()[-2000:]

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        process = self.processes.pop("erlexec")
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _launch(self, program: str, *arguments: str) -> None:
        with self.log.open("ab") as log:
            self.processes[program] = subprocess.Popen(
                [*dies_with_parent(), self._programs / program, *arguments],
                env=self._environment(),
                cwd=self.data,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def _programs(self) -> Path:
        return next(self.root.glob("usr/lib/erlang/erts-*")) / "bin"

    def _environment(self) -> dict[str, str]:
        home = next(self.root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*"))
        plugins, settings = self.data / "enabled_plugins", self.data / "rabbitmq.conf"
        plugins.write_text("[].")
        settings.write_text("log.console.level = warning\n")
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data),  # of the cookie
            "ROOTDIR": str(self.root / "usr/lib/erlang"),
            "BINDIR": str(self._programs),
            "EMU": "beam",
            "PROGNAME": "erl",
            "ERL_LIBS": str(home / "plugins"),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_HOME": str(home),
            "RABBITMQ_NODENAME": f"quickbg-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.data / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        }
