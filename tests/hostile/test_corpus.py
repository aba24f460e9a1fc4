"""Every way to be odd: each picture ends as it should, at the door or in a worker, within a worker's limits.

What is accepted comes out as a PNG of red, green, blue and alpha with nothing beside the pixels: `judge` sees to it.
"""

import pytest

from tests.hostile import corpus
from tests.hostile.cases import Case
from tests.hostile.judge import Verdict
from tests.hostile.watch import watched

pytestmark = pytest.mark.xdist_group("hostile")  # all tests look at what one process said

# All of these are small, in pixels at least; `test_bombs` has the others.
SECONDS, MEGABYTES = 5.0, 120.0


@pytest.fixture(scope="module")
def judged() -> list[tuple[Case, Verdict]]:
    cases = corpus.cases()
    verdicts = dict(watched("corpus"))
    return [(case, verdicts[number]) for number, case in enumerate(cases)]


def test_each_ends_as_it_should(judged: list[tuple[Case, Verdict]]) -> None:
    assert len({case.name for case, _ in judged}) == len(judged) > 800
    assert [(case.name, verdict.said, case.may) for case, verdict in judged if verdict.said not in case.may] == []


def test_none_takes_long_or_much(judged: list[tuple[Case, Verdict]]) -> None:
    assert [
        (case.name, verdict)
        for case, verdict in judged
        if max(verdict.door_seconds, verdict.work_seconds) > SECONDS
        or max(verdict.door_mb, verdict.work_mb) > MEGABYTES
    ] == []


def test_every_format_is_there_and_many_are_accepted(judged: list[tuple[Case, Verdict]]) -> None:
    done = [case.name for case, verdict in judged if verdict.said == "done"]
    assert {name.split()[0] for name in done} == {"png", "jpeg", "webp", "bmp"}
    assert len(done) > 300
