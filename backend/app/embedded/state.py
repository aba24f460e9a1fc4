"""What a data folder remembers: its ports, its secrets and its local user. Made once, then kept."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from uuid import UUID, uuid4

from app.embedded import ports
from app.embedded.layout import EmbeddedError, Layout, write_private

# One port each; the five of SeaweedFS begin with "s3".
PORT_NAMES = ("postgres", "valkey", "s3", "s3_master", "s3_volume", "s3_filer", "s3_admin", "supervisor")
DEFAULT_API_PORT = 8000


_MEND = "put it back from a copy of it, or restore a backup into another --data"


def _secret() -> str:
    return secrets.token_hex(32)


@dataclass(frozen=True)
class State:
    """One data folder's memory. The secrets are hexadecimal, so no file format needs to escape them."""

    ports: Mapping[str, int]
    external: tuple[str, ...] = ()  # services that the person's own stand in for, since the last start
    local_user: str = field(default_factory=lambda: str(uuid4()))
    secret_key: str = field(default_factory=_secret, repr=False)
    postgres_password: str = field(default_factory=_secret, repr=False)
    valkey_password: str = field(default_factory=_secret, repr=False)
    supervisor_password: str = field(default_factory=_secret, repr=False)
    s3_access_key: str = field(default_factory=lambda: secrets.token_hex(10), repr=False)
    s3_secret_key: str = field(default_factory=_secret, repr=False)
    s3_jwt_keys: tuple[str, ...] = field(default_factory=lambda: tuple(_secret() for _ in range(4)), repr=False)

    @property
    def local_user_id(self) -> UUID:
        return UUID(self.local_user)

    @property
    def api_port(self) -> int:
        return self.ports["api"]

    def with_port(self, name: str, port: int) -> "State":
        """The same state with one port changed."""
        return replace(self, ports={**self.ports, name: port})


def load(layout: Layout) -> State | None:
    """The recorded state, or None where no service has ever been started.

    Raises:
        EmbeddedError: the file cannot be read or understood.
    """
    try:
        members = json.loads(layout.state.read_text(encoding="utf-8"))
        members["ports"] = {name: int(members["ports"][name]) for name in (*PORT_NAMES, "api")}
        return State(**{**members, **{name: tuple(members.get(name, ())) for name in ("s3_jwt_keys", "external")}})
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise EmbeddedError(f"The data folder {layout.data} belongs to another user.") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EmbeddedError(f"{layout.state} is damaged: {_MEND}.") from error


def load_or_create(layout: Layout) -> State:
    """The recorded state, or a new one, on disk when this returns.

    Raises:
        EmbeddedError: the state is damaged, or gone from a folder that has data, or not back in it yet.
    """
    state = load(layout)
    if state is not None:
        return state
    if layout.restoring.exists():
        raise EmbeddedError(f"The restore into {layout.data} was cut off: repeat it.")
    if layout.postgres.exists():
        raise EmbeddedError(f"{layout.state} is missing, and with it the keys to the data: {_MEND}.")
    chosen: dict[str, int] = {}
    for name in PORT_NAMES:
        chosen[name] = ports.choose(chosen.values())
    return save(layout, State(ports={**chosen, "api": DEFAULT_API_PORT}))


def save(layout: Layout, state: State) -> State:
    """Record the state; returns it for convenience."""
    write_private(layout.state, json.dumps(asdict(state), indent=2) + "\n")
    return state


def with_usable_ports(layout: Layout, state: State) -> State:
    """The state, recorded, with every service's port exchanged that somebody else, or our API, has taken meanwhile.

    Nothing of this data folder may be running.
    """
    fresh = state
    for name in PORT_NAMES:
        port = fresh.ports[name]
        if ports.collides(port, [fresh.api_port]) or not ports.is_usable(port):
            fresh = fresh.with_port(name, ports.choose(fresh.ports.values()))
    return save(layout, fresh)
