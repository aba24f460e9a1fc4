"""`./scripts/quickbg chaos`: break the service at random while pictures come in, and see whether anything is lost."""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.core.errors import AppError
from tests.faults.chaos import Wish, run
from tests.faults.figures.catalogue import measure
from tests.faults.nemesis import catalogue, choose
from tests.faults.stack import AWAY, FAULTY, stack


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    known = catalogue(float(FAULTY["LEASE_SECONDS"]), AWAY)
    parser = argparse.ArgumentParser(
        prog="quickbg chaos",
        description="Starts the whole service in a folder of its own, uploads pictures, and kills, stops, cuts off and"
        " empties its parts at random. Ends with 1 when anything was lost, done twice, mixed up or left behind.",
        epilog="`quickbg chaos figures [NAME ...]` measures single faults and speeds instead. Faults: "
        + ", ".join(sorted({fault.group for fault in known}) + [fault.name for fault in known]),
    )
    add = parser.add_argument
    add("--minutes", type=float, default=3.0, help="of load (default: 3)")
    add("--seed", type=int, help="decides every fault; printed when it is not given")
    add("--rate", type=float, default=5.0, help="pictures a second (default: 5)")
    add("--every", type=float, default=5.0, metavar="SECONDS", help="from fault to fault (default: 5)")
    add("--faults", default="", metavar="NAME,NAME", help="only these, or of these groups (default: all)")
    add("--real", action="store_true", help="with the real network instead of one that sleeps a tenth of a second")
    add("--keep", action="store_true", help="keep the folder, with all logs, also when nothing was found")
    asked = parser.parse_args(arguments)
    if min(asked.minutes, asked.rate, asked.every) <= 0:
        parser.error("minutes, rate and seconds are more than 0")
    asked.faults = [name for name in asked.faults.split(",") if name]
    try:
        choose(known, asked.faults)
    except ValueError as error:
        parser.error(str(error))
    return asked


def main(arguments: Sequence[str]) -> int:
    asked = parse(arguments)
    seed = random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    wish = Wish(seed, asked.minutes * 60, asked.rate, asked.every, asked.faults)
    folder = Path(tempfile.mkdtemp(prefix="quickbg-chaos-"))
    folder.chmod(0o711)  # the database may run as another user
    _say(f"seed {seed}, logs in {folder / 'logs'}")
    found = True
    try:
        with stack(folder, real=asked.real) as made:
            outcome = run(made, wish, _say)
        _say(outcome.report(wish))
        found = bool(outcome.findings)
    finally:
        if not found and not asked.keep:
            shutil.rmtree(folder)
    return int(found)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # It led to this package, and is not for the programs that are started here.
    os.environ.pop("PYTHONPATH", None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        if sys.argv[1:2] == ["figures"]:
            sys.exit(measure(sys.argv[2:]))
        sys.exit(main(sys.argv[1:]))
    except AppError as error:
        sys.exit(f"quickbg: {error}")
    except KeyboardInterrupt:
        sys.exit("quickbg: The chaos has been stopped.")
