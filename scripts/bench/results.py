"""What the bench has measured, as it is kept in `docs/bench.json`."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from scripts.bench.sides import BenchProblem

NETWORK_GFLOP = 319.0
"""What IS-Net costs at 1024 x 1024."""

OURS, THEIRS = "quickbg", "rembg"
TITLES = {
    THEIRS: "rembg",
    OURS: "QuickBG",
    "quickbg-untrimmed": "QuickBG, not trimmed",
    "quickbg-norefine": "QuickBG, `refine=false`",
    "quickbg-best": "QuickBG, `quality=best`",
}
"""All that is measured, in the order of the tables. The first two are with their defaults."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Timing(_Frozen):
    """Library calls one after the other, on pictures of one size. `seconds` and `stages` are medians over the calls,
    `output_bytes` is their mean.
    """

    size: str
    variant: str
    calls: int
    seconds: float
    fastest: float
    slowest: float
    output_bytes: int
    stages: dict[str, float]


class Level(_Frozen):
    """A server under load. `latency`: median seconds from the request to the picture. `client_cores`: what the load
    client itself took, in cores.
    """

    in_flight: int
    images: int
    seconds: float
    latency: float
    client_cores: float

    @property
    def per_second(self) -> float:
        return self.images / self.seconds


class Load(_Frozen):
    """A server with pictures of one size, with more and more of them in flight."""

    size: str
    variant: str
    levels: list[Level]

    @property
    def best(self) -> Level:
        """Where it serves the most pictures a second; of equals, the one with the fewest in flight."""
        return max(self.levels, key=lambda level: (level.per_second, -level.in_flight))


class Memory(_Frozen):
    """Peak resident MB while pictures of one size were served, all processes of a kind added up.

    `workers`: our worker's children. `all_of_ours`: every process of the service, database and store included.
    """

    size: str
    workers: int
    all_of_ours: int
    rembg: int


class Machine(_Frozen):
    """`gflops`: by precision, what a matrix product reaches on all cores."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    gflops: dict[str, float]


class Engine(_Frozen):
    """What ran the network on our side."""

    engine: str
    precision: str
    reason: str
    threads: int


class Report(_Frozen):
    """One run of the bench. `versions`: by package; rembg's own as "… of rembg"."""

    date: str
    pictures: str
    machine: Machine
    engine: Engine
    versions: dict[str, str]
    library: list[Timing]
    service: list[Load]
    memory: list[Memory]

    @property
    def sizes(self) -> list[str]:
        """In the order in which they were measured."""
        return list(dict.fromkeys([each.size for each in self.library] + [each.size for each in self.service]))

    def timing(self, variant: str, size: str) -> Timing | None:
        return next((each for each in self.library if (each.variant, each.size) == (variant, size)), None)

    def load(self, variant: str, size: str) -> Load | None:
        return next((each for each in self.service if (each.variant, each.size) == (variant, size)), None)

    def share(self, variant: str, per_second: float) -> float | None:
        """The part of what the machine could do at most, if the network were all there is; 0..1."""
        limit = self.machine.gflops.get("fp32" if variant == THEIRS else self.engine.precision)
        return None if limit is None else per_second * NETWORK_GFLOP / limit


def summarise(size: str, variant: str, answers: Sequence[dict[str, Any]]) -> Timing:
    """One `Timing` of a side's answers; see `sides` and the two programs."""
    seconds = [float(each["seconds"]) for each in answers]
    return Timing(
        size=size,
        variant=variant,
        calls=len(answers),
        seconds=round(median(seconds), 4),
        fastest=round(min(seconds), 4),
        slowest=round(max(seconds), 4),
        output_bytes=round(fmean(each["bytes"] for each in answers)),
        stages={
            stage: round(median(each["stages"].get(stage, 0.0) for each in answers), 4)
            for stage in answers[0]["stages"]
        },
    )


def load(path: Path) -> Report:
    """Results of an earlier run.

    Raises:
        BenchProblem: there are none, or they are of another form.
    """
    try:
        return Report.model_validate_json(path.read_text())
    except OSError as error:
        raise BenchProblem(f"{path} cannot be read: {error.strerror}. Measure first.") from error
    except ValidationError as error:
        raise BenchProblem(f"{path} holds no results of this version of the bench. Measure again.") from error


def save(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.model_dump_json(indent=2) + "\n")
