"""The process that looks at hostile pictures: under a worker's limits, and watched by `watch`.

Of each picture it says that it takes it, and then what became of it: a JSON line each.
"""

import itertools
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from app.core.logging import configure_logging
from app.imaging.errors import is_out_of_memory
from app.tasks.memory import MemoryLimit, limit_files
from tests.hostile import corpus, mutate
from tests.hostile.judge import LIMITS, Verdict, judge
from tests.hostile.parts import png

WHOLE = 50  # of so many mutations one goes through the whole pipeline


def main(source: str, argument: str, first: int) -> None:
    """Look at the pictures of a source (see `pictures`) from the first on."""
    warnings.simplefilter("ignore")  # Pillow's, of oddities; what comes out is judged here all the same
    configure_logging("WARNING")
    limit_files()
    judge(png())
    MemoryLimit(None, LIMITS.max_pixels)
    for number, make in itertools.islice(enumerate(pictures(source, argument)), first, None):
        data = make()
        _say({"at": number})
        _say({"at": number, **asdict(_look(data, whole=source != "fuzz" or number % WHOLE == 0))})


def pictures(source: str, argument: str) -> Iterator[Callable[[], bytes]]:
    """The corpus, one file of a path, or without end the mutations of a seed."""
    match source:
        case "corpus":
            yield from (case.make for case in corpus.cases())
        case "file":
            yield Path(argument).read_bytes
        case "fuzz":
            yield from (partial(mutate.picture, int(argument), number) for number in itertools.count())


def _look(data: bytes, *, whole: bool) -> Verdict:
    try:
        return judge(data, whole=whole)
    except Exception as error:
        return Verdict(f"{'out of memory' if is_out_of_memory(error) else 'crash'}: {error!r}"[:300])


def _say(fields: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
