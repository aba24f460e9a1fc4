"""What wears out or runs away: clocks that are wrong, and thousands of pictures."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import numpy as np

from tests.embedded_services import wait_for
from tests.faults.client import tally, uploading
from tests.faults.figures import Figure, client, completed_once, count, number, send, service, wait_count, wait_over
from tests.faults.stack import Stack

JOBS = int(os.environ.get("SOAK_JOBS", "1000"))
REAL_JOBS = int(os.environ.get("SOAK_REAL_JOBS", "100"))
MEGABYTE = 1_048_576
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


def wrong_clocks(jobs: int = 100) -> Figure:
    """R15: the API's clock is an hour ahead, then the worker's an hour behind, and then they are right again.

    Needs Debian's `libfaketime`, or its path in `LIBFAKETIME`.
    """
    library = next(_libraries(), None)
    if library is None:
        return Figure("not run: there is no libfaketime", good=False)
    with service() as made, client(made, accounts=4) as sender:
        reasons = []
        with uploading(sender, 3):
            for name, ahead in (("api", "+3600"), ("worker", "-3600")):
                made.own[name] = {"LD_PRELOAD": str(library), "FAKETIME": ahead, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
                made.stop(name)
                made.start(name)
                made.wait_ready()
                before = len(sender.record.uploads)
                wait_for(lambda: len(sender.record.uploads) >= before + jobs // 3, "more pictures", seconds=90)  # noqa: B023
                reasons.append(httpx2.get(f"{made.url}/health", timeout=5).json()["details"].get("s3"))
                del made.own[name]
                made.stop(name)
                made.start(name)
                made.wait_ready()
        made.age_locks()
        took = wait_over(made, 180)
        told = reasons[0] == {"reason": "clock_skew"}
        said = (
            f"{tally(sender.record.statuses)}; health with the API an hour ahead: {reasons[0]}; done {took:.0f} s after"
        )
        return Figure(f"{count(made)} tasks, {said}", told and completed_once(made))


def _libraries() -> Iterator[Path]:
    if named := os.environ.get("LIBFAKETIME"):
        yield Path(named)
    yield from Path("/usr/lib").glob("*/faketime/libfaketime.so.1")


def soak() -> Figure:
    """R16: thousands of pictures (`SOAK_JOBS`): memory, files and connections stay where they were."""
    return _soak(JOBS, real=False, FAILPOINTS="inferring=sleep:0.02")


def real_soak() -> Figure:
    """R16 with the real network (`SOAK_REAL_JOBS`)."""
    return _soak(REAL_JOBS, real=True)


def _soak(jobs: int, *, real: bool, **settings: str) -> Figure:
    with service(real=real, through=(), **settings) as made, client(made, accounts=8) as sender:
        for each in range(60):
            send(sender, each)
        wait_over(made, 120)
        seen = [_look(made)]
        begun = time.monotonic()
        with uploading(sender, 12):
            while count(made, "status = 'completed'") < jobs:
                done = count(made, "status = 'completed'")
                wait_count(made, "status = 'completed'", done + jobs // 20, seconds=300, every=0.5)
                seen.append(_look(made))
        wait_over(made, 120)
        rate = count(made) / (time.monotonic() - begun)
        api, main, children, files, connections, zombies, done_at = (
            np.array(column, float) for column in zip(*seen, strict=True)
        )
        slope = np.polyfit(done_at, api / MEGABYTE, 1)[0] * 1000
        main_slope = np.polyfit(done_at, main / MEGABYTE, 1)[0] * 1000
        child_slope = np.polyfit(done_at, children / MEGABYTE, 1)[0] * 1000
        said = (
            f"{count(made)} pictures, {rate:.1f}/s: API {(api[-1] - api[0]) / MEGABYTE:+.0f} MB; in MB per 1000: API"
            f" {slope:+.1f}, worker's main process {main_slope:+.1f}, a child {child_slope:+.1f};"
            f" files {files[0]:.0f} to {files[-1]:.0f}, connections"
            f" {connections[0]:.0f} to {connections[-1]:.0f}, {zombies.max():.0f} zombies"
        )
        good = (api[-1] - api[0]) / MEGABYTE <= 30 and zombies.max() == 0 and completed_once(made)
        return Figure(said, good)


def _look(made: Stack) -> tuple[float, ...]:
    """Resident bytes of the API, the worker's main process and a child, open files, connections, zombies, done."""
    api, main = made.pid("api"), made.pid("worker")
    files = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (api, main))
    done = count(made, "status = 'completed'")
    children = [resident(pid) for pid in made.children()]
    child = sum(children) / max(1, len(children))
    return resident(api), resident(main), child, files, number(made, CONNECTIONS), _zombies(main), done


def resident(pid: int) -> float:
    return float(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _zombies(parent: int) -> int:
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            found += fields[0] == "Z" and int(fields[1]) == parent
    return found
