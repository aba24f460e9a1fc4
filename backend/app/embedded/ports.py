"""Free TCP ports on loopback."""

import random
import socket
from collections.abc import Collection
from pathlib import Path

HOST = "127.0.0.1"
# SeaweedFS takes each of its ports a second time, for gRPC, this much higher.
GRPC_OFFSET = 10_000
# Both the ports and their gRPC twins stay below the range that outgoing connections draw from (from 32768 on).
_RANGE = range(11_000, 32_768 - GRPC_OFFSET)
# SeaweedFS names its unix sockets so, in this very folder, whatever TMPDIR says.
SOCKETS = Path("/tmp")  # noqa: S108 - not our choice


def is_free(port: int) -> bool:
    """Whether nobody listens there; a connection of ours that is still winding down does not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def is_usable(port: int) -> bool:
    """Whether any service, SeaweedFS with its second port and its sockets included, can start there."""
    return is_free(port) and is_free(port + GRPC_OFFSET) and not stale_sockets(port)


def stale_sockets(port: int) -> list[Path]:
    """What SeaweedFS has left of socket files for this port and its twin. Those of another user make it fail half-way.

    While somebody listens on the port the file is in use: another data folder may have been given the port meanwhile.
    """
    left = [each for each in (port, port + GRPC_OFFSET) if is_free(each)]
    return [path for each in left for path in SOCKETS.glob(f"seaweedfs-*-{each}.sock")]


def collides(port: int, taken: Collection[int]) -> bool:
    """Whether a service on this port, its second port included, would meet one on those."""
    return any(abs(port - other) in {0, GRPC_OFFSET} for other in taken)


def choose(taken: Collection[int]) -> int:
    """A usable port, by chance so that two starts at the same time do not meet."""
    generator = random.SystemRandom()
    while True:
        port = generator.choice(_RANGE)
        if not collides(port, taken) and is_usable(port):
            return port
