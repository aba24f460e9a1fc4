"""`./scripts/quickbg bench`: how fast this is beside rembg; `quickbg bench quality`: how clean."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from app.core.errors import AppError
from app.shell.display import say
from scripts.bench import library, photos, plot, rembg_environment, report, results, service
from scripts.bench.machine import describe, limits, our_versions
from scripts.bench.results import Engine, Report
from scripts.bench.sides import ROOT, BenchProblem

README, JSON, SVG = ROOT / "README.md", ROOT / "docs" / "bench.json", ROOT / report.PLOT
LATEST = ROOT / "var" / "bench" / "latest.json"
SIZES = (0.5, 2.0, 12.0)
RUNS, SECONDS = 5, 15.0
QUICK_RUNS, QUICK_SECONDS = 1, 4.0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="quickbg bench",
        description="Measures QuickBG beside rembg, on this machine; a quarter of an hour. A full run (all sizes, both"
        f" parts) writes docs/bench.json, {report.PLOT} and the README's table; any other only {LATEST.name}.",
        epilog="quickbg bench quality …: how clean the cut-outs are.",
    )
    add = parser.add_argument
    add("--sizes", type=float, nargs="+", metavar="MP", default=list(SIZES), help="in megapixels, 0.1 to 16")
    add("--only", choices=("library", "service"), help="one of the two parts")
    add("--runs", type=int, help=f"library calls on each of the pictures (default: {RUNS})")
    add("--quick", action="store_true", help="a single run and short loads, to see that everything works")
    add("--pictures", type=Path, metavar="FOLDER", help="pictures of your own, as they are")
    add("--redraw", action="store_true", help="measure nothing: draw plot and table anew from docs/bench.json")
    asked = parser.parse_args(arguments)
    if not all(0.1 <= size <= 16 for size in asked.sizes):
        parser.error("sizes are megapixels, from 0.1 to 16")
    if asked.runs is not None and asked.runs < 1:
        parser.error("at least one run is needed")
    return asked


def main(arguments: Sequence[str]) -> None:
    asked = parse(arguments)
    if asked.redraw:
        draw(results.load(JSON), README, SVG)
        say(f"Drawn from {JSON.relative_to(ROOT)}.")
        return
    rembg_environment.prepare()
    measured = measure(asked)
    report.show(measured, Console(soft_wrap=False))
    if asked.quick or asked.only or asked.pictures or sorted(asked.sizes) != list(SIZES):
        results.save(measured, LATEST)
        say(f"Kept in {LATEST.relative_to(ROOT)}; the README is left alone, because this was not a full run.")
        return
    results.save(measured, JSON)
    draw(measured, README, SVG)
    say(f"Written: {', '.join(str(path.relative_to(ROOT)) for path in (JSON, SVG, README))}.")


def measure(asked: argparse.Namespace) -> Report:
    """Everything that was asked for."""
    runs = asked.runs or (QUICK_RUNS if asked.quick else RUNS)
    before = limits()
    timings, loads, memory = [], [], []
    with _pictures(asked) as groups:
        with library.ours() as ours:
            engine = Engine(**ours.ready)
            if asked.only != "service":
                with library.theirs() as theirs:
                    timings = list(library.measure(ours, theirs, groups, runs))
        if asked.only != "library":
            with service.servers() as running:
                for found, used in service.measure(running, groups, QUICK_SECONDS if asked.quick else SECONDS):
                    loads += found
                    memory.append(used)
    after = limits()  # again: one slow moment must not make everything look good
    return Report(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        pictures=f"those of {asked.pictures}" if asked.pictures else photos.DESCRIPTION,
        machine=describe({name: max(before[name], after[name]) for name in before}),
        engine=engine,
        versions=our_versions() | rembg_environment.versions(),
        library=timings,
        service=loads,
        memory=memory,
    )


@contextmanager
def _pictures(asked: argparse.Namespace) -> Iterator[list[photos.Group]]:
    if asked.pictures is not None:
        yield photos.own(asked.pictures)
        return
    with photos.made(asked.sizes) as groups:
        yield groups


def draw(measured: Report, readme: Path, svg: Path) -> None:
    """Write the plot, and the tables into the README."""
    text = report.put_into(readme.read_text(), report.markdown(measured))
    svg.write_text(plot.draw(measured))
    readme.write_text(text)


if __name__ == "__main__":
    # It led to this package, and is not for the programs that are started here.
    os.environ.pop("PYTHONPATH", None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        if sys.argv[1:2] == ["quality"]:
            from scripts.bench.quality import main as measure_quality  # loads what the speed does not need

            measure_quality(sys.argv[2:])
        else:
            main(sys.argv[1:])
    except (AppError, BenchProblem) as error:
        sys.exit(f"quickbg: {error}")
    except KeyboardInterrupt:
        sys.exit("quickbg: The bench has been stopped.")
