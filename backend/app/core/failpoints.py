"""Named places where a process may be made to die, fail or dawdle: how the crash points are tested.

Switched on by the environment alone: `FAILPOINTS="result_stored=kill; claimed@poison=raise:MemoryError"`, each of the
form `name[@mark]=action[:argument][*times]`. Actions: `kill` (SIGKILL to oneself), `stop` (SIGSTOP), `raise`
(an exception of the standard library by name), `sleep` (seconds), `spin` (seconds inside one native call that holds no
lock of Python's), `hoard` (allocate that many MiB). With a mark it acts only where the place names it; with `times`
only that often, counted over all processes in `FAILPOINTS_DIR`.
"""

import builtins
import hashlib
import os
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FORM = re.compile(
    r"(?P<name>\w+)(?:@(?P<mark>[\w.-]+))?=(?P<action>\w+)(?::(?P<argument>[\w.]+))?(?:\*(?P<times>\d+))?"
)


@dataclass(frozen=True)
class _Fault:
    mark: str | None
    action: str
    argument: str
    times: int | None


def _read(text: str) -> Mapping[str, _Fault]:
    faults = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        found = FORM.fullmatch(part)
        if found is None or found["action"] not in ACTIONS:
            raise ValueError(f"FAILPOINTS: {part!r} is not of the form name[@mark]=action[:argument][*times]")
        times = None if found["times"] is None else int(found["times"])
        faults[found["name"]] = _Fault(found["mark"], found["action"], found["argument"] or "", times)
    return faults


def failpoint(name: str, mark: str | None = None) -> None:
    """Act here, if this place was chosen. `mark` tells one passage of it from another, such as a request's id."""
    if _ACTIVE:
        _pass(name, mark)


def _pass(name: str, mark: str | None) -> None:
    fault = _ACTIVE.get(name)
    if fault is None or (fault.mark is not None and fault.mark != mark):
        return
    if fault.times is None or _is_left(name, fault.times):
        ACTIONS[fault.action](fault.argument)


def _is_left(name: str, times: int) -> bool:
    """Take one of the times that are left, whichever process asks."""
    folder = Path(os.environ["FAILPOINTS_DIR"])
    for number in range(times):
        try:
            (folder / f"{name}.{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return True
    return False


def _kill(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(_: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise(name: str) -> None:
    raise getattr(builtins, name)("a failpoint")


def _sleep(seconds: str) -> None:
    time.sleep(float(seconds))


def _spin(seconds: str) -> None:
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        hashlib.pbkdf2_hmac("sha256", b"", b"", (1 << 31) - 1)  # hours, and no bytecode in between


def _hoard(mebibytes: str) -> None:
    held = [b"1" * (1 << 20) for _ in range(int(mebibytes))]
    del held


ACTIONS = {"kill": _kill, "stop": _stop, "raise": _raise, "sleep": _sleep, "spin": _spin, "hoard": _hoard}
_ACTIVE = _read(os.environ.get("FAILPOINTS", ""))
