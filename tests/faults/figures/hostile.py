"""Broken, odd and oversized pictures by the thousand, through the whole service."""

import io
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import httpx2
from PIL import Image

from tests.faults.client import picture
from tests.faults.figures import Figure, ask, service, wait_over
from tests.faults.figures.wear import MEGABYTE, resident
from tests.faults.stack import Stack
from tests.hostile import corpus, mutate

FILES = int(os.environ.get("HOSTILE_FILES", "1000"))
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
AT_ONCE = 4
DEATHS = "SELECT count(*) FROM task_events WHERE error_code IN ('worker_lost', 'oom', 'timeout', 'internal_error')"
CODES = "SELECT coalesce(error_code, status), count(*) FROM tasks GROUP BY 1 ORDER BY 2 DESC"
RESULTS = "SELECT result_key FROM tasks WHERE status = 'completed'"


@dataclass
class Answers:
    """What the door said."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0


def pictures() -> Iterator[bytes]:
    """The whole corpus, the bombs, and then pictures bent at random (`HOSTILE_SEED`)."""
    for case in (*corpus.cases(), *corpus.bombs()):
        yield case.make()
    number = 0
    while True:
        yield mutate.picture(SEED, number)
        number += 1


def files() -> Figure:
    """S1: `HOSTILE_FILES` of them: no 5xx, no dead child, a sentence for every refusal, only plain PNGs come out."""
    with service(through=()) as made:
        token = made.account()[1]
        answers = Answers()
        with (
            httpx2.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            for number in range(60):  # what a process needs once is not what is looked for
                _send(made, http, picture(number), Answers())
            before = resident(made.pid("api"))
            for _ in pool.map(lambda data: _send(made, http, data, answers), islice(pictures(), FILES)):
                pass
        wait_over(made, 600)
        grown = (resident(made.pid("api")) - before) / MEGABYTE
        deaths = int(str(ask(made, DEATHS)[0][0]))
        ends = ", ".join(f"{code} x {number}" for code, number in ask(made, CODES))
        bad = sum(not _is_plain(made.store.get(str(key))) for (key,) in ask(made, RESULTS))
        said = (
            f"{FILES} files, seed {SEED}: {dict(answers.statuses)}; slowest answer {answers.slowest:.2f} s;"
            f" tasks: {ends}; API {grown:+.0f} MB; dead children {deaths};"
            f" wrong answers {answers.wrong[:3]}; wrong results {bad}"
        )
        good = not (answers.wrong or deaths or bad) and answers.slowest <= 20 and grown <= 50
        return Figure(said, good)


def _send(made: Stack, http: httpx2.Client, data: bytes, answers: Answers) -> None:
    begun = time.monotonic()
    answer = http.post(f"{made.url}/api/v1/uploads", files={"file": ("picture", data)}, data={"trim": "false"})
    answers.slowest = max(answers.slowest, time.monotonic() - begun)
    answers.statuses[answer.status_code] += 1
    if answer.status_code != 202 and not (answer.status_code < 500 and isinstance(answer.json().get("detail"), str)):
        answers.wrong.append(f"{answer.status_code} {answer.text[:100]}")


def _is_plain(result: bytes) -> bool:
    with Image.open(io.BytesIO(result), formats=("PNG",)) as image:
        image.load()
        return image.mode == "RGBA" and not image.info
