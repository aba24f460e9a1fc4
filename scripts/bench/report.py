"""The results as tables: on the terminal and in the README."""

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import fill

from rich.console import Console
from rich.table import Table as RichTable

from scripts.bench.results import NETWORK_GFLOP, OURS, THEIRS, TITLES, Load, Report, Timing
from scripts.bench.sides import BenchProblem

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
PLOT = "docs/bench.svg"
STEPS = {
    "decoding": "decode",
    "inferring": "shrink, network",
    "refining": "mask, foreground",
    "encoding": "write the PNG",
}
DEFAULTS = (THEIRS, OURS)


@dataclass(frozen=True)
class Table:
    """Cells of plain text. `strong`: the row that is ours with its defaults."""

    head: list[str]
    rows: list[list[str]]
    strong: str = TITLES[OURS]


def tables(report: Report) -> Iterator[Table]:
    """All that there is something in."""
    if report.library:
        yield _library(report)
        yield _steps(report)
    if report.service:
        yield _service(report)


def _library(report: Report) -> Table:
    def cell(timing: Timing | None) -> str:
        if timing is None:
            return "–"
        base = report.timing(THEIRS, timing.size)
        faster = "" if base is None or base is timing else f" ({base.seconds / timing.seconds:.1f}×)"
        return f"{timing.seconds:.2f}{faster}"

    rows = [
        [title, *(cell(report.timing(variant, size)) for size in report.sizes)] for variant, title in TITLES.items()
    ]
    rows += [_shares(report, {size: _library_rates(report, size) for size in report.sizes})]
    rows += [["size of the result, MB: rembg, QuickBG", *(_megabytes(report, size) for size in report.sizes)]]
    return Table(["one picture at a time, by a library call: seconds", *report.sizes], rows)


def _library_rates(report: Report, size: str) -> dict[str, float]:
    found = {variant: report.timing(variant, size) for variant in DEFAULTS}
    return {variant: 1 / timing.seconds for variant, timing in found.items() if timing is not None}


def _megabytes(report: Report, size: str) -> str:
    found = [report.timing(variant, size) for variant in DEFAULTS]
    return ", ".join("–" if timing is None else f"{timing.output_bytes / 1e6:.1f}" for timing in found)


def _service(report: Report) -> Table:
    def cell(load: Load | None) -> str:
        if load is None:
            return "–"
        base = report.load(THEIRS, load.size)
        faster = "" if base is None or base is load else f"; {load.best.per_second / base.best.per_second:.1f}×"
        return f"{load.best.per_second:.2f} ({load.best.in_flight} in flight{faster})"

    served = [variant for variant in TITLES if any(load.variant == variant for load in report.service)]
    rows = [[TITLES[variant], *(cell(report.load(variant, size)) for size in report.sizes)] for variant in served]
    rows += [_shares(report, {size: _service_rates(report, size) for size in report.sizes})]
    for variant in DEFAULTS:
        alone = [report.load(variant, size) for size in report.sizes]
        seconds = [f"{load.levels[0].latency:.2f}" if load else "–" for load in alone]
        rows.append([f"{TITLES[variant]}: seconds for a lone picture", *seconds])
    memory = {each.size: each for each in report.memory}
    for title, name in (("rembg", "rembg"), ("QuickBG's workers", "workers"), ("QuickBG, everything", "all_of_ours")):
        used = [f"{getattr(memory[size], name) / 1000:.1f}" if size in memory else "–" for size in report.sizes]
        rows.append([f"peak resident GB: {title}", *used])
    return Table(["as an HTTP service: pictures a second", *report.sizes], rows)


def _service_rates(report: Report, size: str) -> dict[str, float]:
    found = {variant: report.load(variant, size) for variant in DEFAULTS}
    return {variant: load.best.per_second for variant, load in found.items() if load is not None}


def _shares(report: Report, rates: dict[str, dict[str, float]]) -> list[str]:
    """How near each comes to what the machine could do if there were only the network."""

    def cell(of_size: dict[str, float]) -> str:
        shares = [report.share(variant, rate) for variant, rate in of_size.items()]
        return ", ".join("–" if share is None else f"{share:.0%}" for share in shares)

    return ["share of the processor's limit: rembg, QuickBG", *(cell(of_size) for of_size in rates.values())]


def _steps(report: Report) -> Table:
    """Of the largest size, where the steps around the network count most."""
    largest = report.library[-1].size
    rows = []
    for variant, title in TITLES.items():
        timing = report.timing(variant, largest)
        if timing is not None:
            named = f"{title} (its network's step enlarges the mask, too)" if variant == THEIRS else title
            rows.append([named, *(f"{timing.stages.get(step, 0) * 1000:.0f}" for step in STEPS)])
    return Table([f"where the time goes at {largest}: milliseconds", *STEPS.values()], rows)


def introduction(report: Report) -> str:
    """What has been measured, where, and how."""
    machine, engine = report.machine, report.engine
    limits = ", ".join(f"{value:.0f} in {precision}" for precision, value in sorted(machine.gflops.items()))
    versions = report.versions
    return (
        f"Measured on {report.date}, in one run and in turn: {machine.processor}, {machine.cores} cores, "
        f"{machine.memory_gb:.0f} GB; QuickBG {versions['quickbg']} ({engine.engine}, {engine.precision}), "
        f"rembg {versions['rembg']} (onnxruntime {versions['onnxruntime of rembg']}, fp32)."
        f" Pictures: {report.pictures}."
        " rembg is given QuickBG's weights file, which is cut down to the one output that is used: with its own it is"
        " a little slower. Its server runs without its web page. QuickBG trims the result to the subject unless told"
        " otherwise. A served picture counts when the client has its PNG."
        f" The processor's limit is what a matrix product reaches on it (GFLOP/s: {limits}); the network costs"
        f" {NETWORK_GFLOP:.0f} GFLOP."
    )


def markdown(report: Report) -> str:
    """What stands between the README's markers."""
    parts = [f"![Seconds for one picture, and pictures a second]({PLOT})", _wrapped(introduction(report))]
    parts += [_markdown_table(table) for table in tables(report)]
    return "\n\n".join(parts)


def _wrapped(text: str) -> str:
    """As the README is."""
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _markdown_table(table: Table) -> str:
    lines = [table.head, ["---", *("---:" for _ in table.head[1:])]]
    lines += [[f"**{cell}**" for cell in row] if row[0] == table.strong else row for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def put_into(text: str, block: str) -> str:
    """The text with what stands between its markers replaced.

    Raises:
        BenchProblem: the markers are not there, or not once each and in order.
    """
    head, *rest = text.split(BEGIN)
    _, *tail = rest[0].split(END) if len(rest) == 1 else [""]
    if len(tail) != 1:
        raise BenchProblem(f"The README needs one {BEGIN} and, after it, one {END}")
    return f"{head}{BEGIN}\n{block}\n{END}{tail[0]}"


def show(report: Report, console: Console) -> None:
    """The tables, and what the levels of the service were."""
    console.print(introduction(report), highlight=False)
    for table in tables(report):
        _print(table, console)
    if report.service:
        head = [
            "pictures a second by how many are in flight",
            *(str(level.in_flight) for level in report.service[0].levels),
        ]
        rows = [
            [f"{TITLES[load.variant]}, {load.size}", *(f"{level.per_second:.2f}" for level in load.levels)]
            for load in report.service
        ]
        _print(Table(head, rows), console)
        busiest = max(level.client_cores for load in report.service for level in load.levels)
        console.print(f"The load client itself took {busiest:.2f} cores at most.", highlight=False)


def _print(table: Table, console: Console) -> None:
    shown = RichTable(title_justify="left")
    for index, cell in enumerate(table.head):
        shown.add_column(cell, justify="right" if index else "left")
    for row in table.rows:
        shown.add_row(*(cell.replace("`", "") for cell in row), style="bold" if row[0] == table.strong else None)
    console.print(shown)
