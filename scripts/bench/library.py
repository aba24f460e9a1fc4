"""One picture at a time, by a call in the same process: ours and rembg's in turn."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from app.shell.display import say
from app.tasks.worker import KEEP_BUFFERS, SINGLE_THREADED
from scripts.bench import rembg_environment
from scripts.bench.photos import Group
from scripts.bench.results import THEIRS, TITLES, Timing, summarise
from scripts.bench.sides import Side


@contextmanager
def ours() -> Iterator[Side]:
    """The pipeline in a process with the environment of a worker's child."""
    environment = os.environ | dict.fromkeys(SINGLE_THREADED, "1") | KEEP_BUFFERS
    with TemporaryFile() as errors, Side(Path(sys.executable), "scripts.bench.ours_side", environment, errors) as side:
        yield side


@contextmanager
def theirs() -> Iterator[Side]:
    """rembg in its own environment."""
    python, environment = rembg_environment.python(), rembg_environment.environment()
    with TemporaryFile() as errors, Side(python, "scripts.bench.rembg_side", environment, errors) as side:
        yield side


def measure(ours: Side, theirs: Side, groups: Sequence[Group], runs: int) -> Iterator[Timing]:
    """Every variant on every picture, `runs` times over.

    They take turns picture by picture, each round beginning with another one, so that a slow moment of the machine
    does not hit one of them alone.

    Raises:
        BenchProblem: a picture is refused, or a side dies.
    """
    sides = {variant: theirs if variant == THEIRS else ours for variant in TITLES}
    order = list(TITLES)
    for group in groups:
        say(f"Library, {group.size}: {runs * len(group.files)} calls of each variant ...")
        answers: dict[str, list[dict[str, Any]]] = {variant: [] for variant in order}
        for variant in order:  # unmeasured: the first picture of a size makes room in memory
            sides[variant].ask(picture=str(group.files[0]), variant=variant)
        for _ in range(runs):
            for file in group.files:
                for variant in order:
                    answers[variant].append(sides[variant].ask(picture=str(file), variant=variant))
                order.append(order.pop(0))
        yield from (summarise(group.size, variant, answers[variant]) for variant in TITLES)
