"""Every figure by its name."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence

from tests.faults.figures import Figure, doors, faults, hostile, speed, wear

KNOWN: Mapping[str, Callable[[], Figure]] = {
    "R2": faults.flushed,
    "R3": faults.killed_worker,
    "R4": faults.stopped_worker,
    "R5": faults.idle_worker,
    "R6": faults.poisoned,
    "R8": faults.silent_broker,
    "R9": faults.restarted_database,
    "R10": faults.ill_store,
    "R11": faults.cancel_storm,
    "R12": faults.duplicates,
    "R13": faults.rolling_stop,
    "R14": faults.one_key,
    "R15": wear.wrong_clocks,
    "R16": wear.soak,
    "R16-real": wear.real_soak,
    "P1": speed.uploads,
    "P2": speed.statuses,
    "P3": speed.hop,
    "P4": speed.turns,
    "P5": speed.backlog,
    "S1": hostile.files,
    "S6": doors.logins,
}


def measure(names: Sequence[str]) -> int:
    """Measure these, or all; a line each. 1 when a bound was missed, 2 for a name that there is not."""
    if strange := sorted(set(names) - set(KNOWN)):
        sys.stderr.write(f"quickbg: no figure is called {', '.join(strange)}; there are {', '.join(KNOWN)}\n")
        return 2
    good = True
    for name in names or KNOWN:
        begun = time.monotonic()
        figure = KNOWN[name]()
        good = good and figure.good
        verdict = "ok    " if figure.good else "MISSED"
        sys.stdout.write(f"{name:4} {verdict} {figure.said}  [{time.monotonic() - begun:.0f} s]\n")
        sys.stdout.flush()
    return int(not good)
