"""`./scripts/quickbg fuzz`: bend pictures at random and see whether anything breaks that looks at them."""

import argparse
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.core.config import PROJECT_ROOT
from tests.doors import fuzzing
from tests.hostile import corpus
from tests.hostile.fuzz import fuzz, is_orderly
from tests.hostile.judge import Verdict
from tests.hostile.watch import watched

LOGS = PROJECT_ROOT / "logs"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="quickbg fuzz",
        description="Bends pictures at random and lets a worker's process look at them, with its limits. Ends with 1"
        " when a picture was neither accepted nor refused in good order within 20 seconds; it is kept under logs/.",
        epilog="`quickbg fuzz api` bends requests instead.",
    )
    add = parser.add_argument
    add("--minutes", type=float, default=1.0, help="how long (default: 1)")
    add("--seed", type=int, help="decides every picture; printed when it is not given")
    add("--bombs", action="store_true", help="instead: time and memory that pictures take that are made for it")
    add("--file", type=Path, metavar="PICTURE", help="instead: look at this one, as one that was kept")
    asked = parser.parse_args(arguments)
    if asked.minutes <= 0:
        parser.error("minutes are more than 0")
    if asked.file is not None and not asked.file.is_file():
        parser.error(f"there is no file {asked.file}")
    return asked


def main(arguments: Sequence[str]) -> int:
    asked = parse(arguments)
    if asked.bombs:
        return _bombs()
    if asked.file is not None:
        return _file(asked.file.absolute())
    seed = random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    _say(f"seed {seed}")
    found = fuzz(seed, 60 * asked.minutes, LOGS, _say)
    _say(found.report())
    return int(bool(found.files))


def _bombs() -> int:
    """Each in a process of its own, which has not made it: none finds memory there that was left by another."""
    broken = 0
    file = Path(tempfile.mkdtemp(prefix="quickbg-fuzz-")) / "picture"
    _say(f"{'door':>9} {'':>7} {'worker':>9}")
    for case in corpus.bombs():
        file.write_bytes(case.make())
        for _, verdict in watched("file", file):
            wrong = verdict.said not in case.may
            broken += wrong
            _say(f"{_figures(verdict)}  {case.name}: {verdict.said}{'  WRONG' if wrong else ''}")
    shutil.rmtree(file.parent)
    return int(broken > 0)


def _file(path: Path) -> int:
    for _, verdict in watched("file", path):
        _say(f"{_figures(verdict)}  {path.name}: {verdict.said}")
    return int(not is_orderly(verdict))


def _figures(verdict: Verdict) -> str:
    door = f"{1000 * verdict.door_seconds:6.0f} ms {verdict.door_mb:4.0f} MB"
    return f"{door} {verdict.work_seconds:6.1f} s {verdict.work_mb:6.0f} MB"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.default_int_handler)
    try:
        if sys.argv[1:2] == ["api"]:
            sys.exit(fuzzing.main(sys.argv[2:]))
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("quickbg: The fuzzing has been stopped.")
