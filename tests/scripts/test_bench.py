"""The speed bench: its figures, its tables and its plot. Nothing is timed here, and rembg is not installed."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from xml.etree import ElementTree

import pytest
from PIL import Image
from rich.console import Console

from app.core.config import PROJECT_ROOT
from scripts.bench import __main__ as bench
from scripts.bench import machine, photos, plot, report, results, service
from scripts.bench.results import Engine, Level, Load, Machine, Memory, Report, Timing
from scripts.bench.sides import BenchProblem, Side

MARKED = f"# Title\n\nBefore.\n\n{report.BEGIN}\nof last year\n{report.END}\n\nAfter.\n"
SIZES = ("0.5 MP", "12 MP")


def timing(variant: str, size: str, seconds: float) -> Timing:
    stages = {"decoding": 0.02, "inferring": seconds - 0.1, "refining": 0.03, "encoding": 0.05}
    return Timing(
        size=size,
        variant=variant,
        calls=15,
        seconds=seconds,
        fastest=seconds - 0.1,
        slowest=seconds + 0.1,
        output_bytes=1_250_000,
        stages=stages,
    )


def level(in_flight: int, images: int, seconds: float = 10.0) -> Level:
    return Level(in_flight=in_flight, images=images, seconds=seconds, latency=0.5 * in_flight, client_cores=0.05)


@pytest.fixture
def measured() -> Report:
    """What a machine might give on which QuickBG is 2.5 times as fast in a call and 3 times as a service."""
    return Report(
        date="2026-01-02",
        pictures="some",
        machine=Machine(
            processor="A & B <fast>", cores=2, memory_gb=23.5, system="Linux", gflops={"fp32": 446, "bf16": 770}
        ),
        engine=Engine(engine="openvino", precision="bf16", reason="it is here", threads=2),
        versions={"quickbg": "0.1.0", "rembg": "2.0.86", "onnxruntime of rembg": "1.31.1"},
        library=[timing("rembg", size, 1.0) for size in SIZES] + [timing("quickbg", size, 0.4) for size in SIZES],
        service=[
            Load(size=size, variant=variant, levels=[level(1, images), level(2, images + 2), level(4, images + 2)])
            for size in SIZES
            for variant, images in (("rembg", 6), ("quickbg", 22))
        ],
        memory=[Memory(size=size, workers=1500, all_of_ours=2100, rembg=5100) for size in SIZES],
    )


def test_calls_are_summed_up_by_their_median() -> None:
    answers = [
        {"seconds": seconds, "bytes": size, "stages": {"decoding": seconds / 2}}
        for seconds, size in ((0.4, 100), (9.0, 200), (0.2, 300))
    ]
    found = results.summarise("2 MP", "rembg", answers)
    assert (found.calls, found.seconds, found.fastest, found.slowest) == (3, 0.4, 0.2, 9.0)
    assert (found.output_bytes, found.stages) == (200, {"decoding": 0.2})


def test_the_best_level_has_the_most_pictures_a_second_and_then_the_fewest_in_flight() -> None:
    levels = [level(1, 10), level(2, 24), level(4, 12, 5.0), level(8, 30, 20.0)]
    best = Load(size="2 MP", variant="rembg", levels=levels).best
    assert (best.in_flight, best.per_second) == (2, 2.4)


def test_the_share_counts_against_the_precision_that_each_computes_in(measured: Report) -> None:
    assert measured.share("rembg", 1.0) == pytest.approx(319 / 446)
    assert measured.share("quickbg", 2.0) == pytest.approx(638 / 770)


def test_results_survive_the_file(measured: Report, tmp_path: Path) -> None:
    results.save(measured, tmp_path / "new" / "bench.json")
    assert results.load(tmp_path / "new" / "bench.json") == measured


def test_a_file_that_is_away_or_of_another_form_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchProblem, match="cannot be read: No such file"):
        results.load(tmp_path / "bench.json")
    (tmp_path / "bench.json").write_text('{"date": "2026"}')
    with pytest.raises(BenchProblem, match="Measure again"):
        results.load(tmp_path / "bench.json")


def test_the_readme_gets_the_tables_between_its_markers_and_the_plot_lies_beside(
    measured: Report, tmp_path: Path
) -> None:
    readme, svg = tmp_path / "README.md", tmp_path / "bench.svg"
    readme.write_text(MARKED)
    bench.draw(measured, readme, svg)
    once = readme.read_text()
    assert "of last year" not in once
    assert once.startswith(f"# Title\n\nBefore.\n\n{report.BEGIN}\n")
    assert once.endswith(f"\n{report.END}\n\nAfter.\n")
    assert "| rembg | 1.00 | 1.00 |" in once
    assert "| **QuickBG** | **0.40 (2.5×)** | **0.40 (2.5×)** |" in once
    assert "| **QuickBG** | **2.40 (2 in flight; 3.0×)** |" in once
    assert "| peak resident GB: QuickBG, everything | 2.1 | 2.1 |" in once
    bench.draw(measured, readme, svg)
    assert readme.read_text() == once
    assert svg.read_text() == plot.draw(measured)


@pytest.mark.parametrize(
    "text", ["no markers", report.BEGIN, f"{report.END} {report.BEGIN}", f"{MARKED}{MARKED}", f"{MARKED}{report.END}"]
)
def test_markers_that_are_not_as_they_should_be_leave_everything_alone(
    text: str, measured: Report, tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(BenchProblem, match="needs one"):
        bench.draw(measured, readme, tmp_path / "bench.svg")
    assert readme.read_text() == text
    assert not (tmp_path / "bench.svg").exists()


def test_the_plot_is_a_small_picture_with_a_bar_for_each_value(measured: Report) -> None:
    text = plot.draw(measured)
    assert len(text) < 12_000
    tree = ElementTree.fromstring(text)  # noqa: S314 - our own
    names = [element.tag.rpartition("}")[2] for element in tree.iter()]
    assert set(names) == {"svg", "style", "rect", "text"}
    assert names.count("rect") == 1 + 2 + 2 * 2 * len(SIZES)
    _, _, width, height = (float(number) for number in tree.attrib["viewBox"].split())
    for rect in tree.iter("{http://www.w3.org/2000/svg}rect"):
        x, y, wide, high = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x < x + wide <= width
        assert 0 <= y < y + high <= height


@pytest.mark.parametrize("part", ["library", "service"])
def test_a_part_alone_can_be_shown(part: str, measured: Report, capsys: pytest.CaptureFixture[str]) -> None:
    nothing: dict[str, list[object]] = {"service": [], "memory": []} if part == "library" else {"library": []}
    alone = measured.model_copy(update=nothing)
    shown = report.markdown(alone)
    assert ("library call" in shown, "HTTP service" in shown) == (part == "library", part == "service")
    ElementTree.fromstring(plot.draw(alone))  # noqa: S314 - our own
    report.show(alone, Console(width=160))
    assert "12 MP" in capsys.readouterr().out


def test_the_projects_own_readme_and_plot_are_those_of_its_results() -> None:
    text = bench.README.read_text()
    if bench.JSON.exists():
        measured = results.load(bench.JSON)
        assert report.put_into(text, report.markdown(measured)) == text, "./scripts/quickbg bench --redraw"
        assert bench.SVG.read_text() == plot.draw(measured), "./scripts/quickbg bench --redraw"
    else:
        assert f"{report.BEGIN}\n{report.END}" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sizes", "0.5", "40"], "megapixels, from 0.1 to 16"),
        (["--runs", "0"], "at least one run"),
        (["--only", "cake"], "invalid choice"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench.parse(arguments)
    assert sentence in capsys.readouterr().err


def test_the_photographs_have_the_size_asked_for_and_are_always_the_same() -> None:
    with photos.made([0.3, 0.1]) as groups, photos.made([0.1]) as again:
        assert [group.size for group in groups] == ["0.1 MP", "0.3 MP"]
        for file, twin in zip(groups[0].files, again[0].files, strict=True):
            assert file.read_bytes() == twin.read_bytes()
            with Image.open(file) as picture:
                assert picture.format == "JPEG"
                assert picture.width * picture.height == pytest.approx(0.1e6, rel=0.02)
                assert picture.width / picture.height == pytest.approx(4 / 3, rel=0.02)
    assert not groups[0].files[0].exists()


def test_ones_own_pictures_are_one_group(tmp_path: Path) -> None:
    with pytest.raises(BenchProblem, match="holds no picture"):
        photos.own(tmp_path)
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    (group,) = photos.own(tmp_path)
    assert (group.size, [file.name for file in group.files]) == (tmp_path.name, ["a.png", "b.JPG"])


class Pairs:
    """A client whose pictures are done two at a time, or not at all."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2)
        self.pictures: list[str] = []

    def cut_out(self, picture: Path, in_flight: int) -> bytes:
        assert in_flight == 2
        self.barrier.wait(20)
        self.pictures.append(picture.name)
        return b""


def test_a_burst_keeps_so_many_in_flight_and_takes_all_pictures_in_turn() -> None:
    client = Pairs()
    found = service.burst(client, [Path("a"), Path("b")], 2, 0)
    assert (found.in_flight, found.images) == (2, 2)
    assert sorted(client.pictures) == ["a", "b"]


@pytest.fixture
def side() -> Iterator[Side]:
    with TemporaryFile() as errors, Side(Path(sys.executable), "tests.scripts.echo_side", os.environ, errors) as side:
        yield side


def test_a_side_answers_refuses_and_says_why_it_died(side: Side) -> None:
    assert side.ready == {"name": "echo"}
    assert side.ask(do="this") == {"did": "this"}
    with pytest.raises(BenchProblem, match="I would rather not"):
        side.ask(do="refuse")
    assert side.ask(do="that") == {"did": "that"}
    with pytest.raises(BenchProblem, match=r"tests\.scripts\.echo_side has ended: the reason"):
        side.ask(do="die")


@pytest.mark.skipif(sys.platform != "linux", reason="what the kernel tells in /proc")
def test_the_peak_memory_of_a_family_of_processes_is_reset() -> None:
    code = "x = bytearray(200_000_000); del x; print(flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in machine.family(os.getpid())
        before = machine.peak_mb([child.pid])
        machine.reset_peaks([child.pid])
        assert machine.peak_mb([child.pid]) < before - 150
        child.stdin.close()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's skeleton, with a bench that only says how it was called."""
    copy = tmp_path / "Pro jekt"
    (copy / "scripts" / "bench").mkdir(parents=True)
    (copy / "scripts" / "bench" / "__main__.py").write_text("import sys\nprint(*sys.argv[1:], sep='|')\n")
    for name in ("requirements.txt", "requirements-dev.txt"):
        (copy / name).touch()
    for name in ("quickbg", "bootstrap.sh"):
        shutil.copy(PROJECT_ROOT / "scripts" / name, copy / "scripts" / name)
    return copy


def test_the_bench_runs_in_the_developers_environment_from_any_folder(copy: Path, tmp_path: Path) -> None:
    command = [str(copy / "scripts" / "quickbg"), "bench", "--pictures", "my folder"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=True)
    assert done.stdout == "--pictures|my folder\n"
    assert (copy / ".venv" / ".installed-requirements-dev.txt").exists()


def test_a_tool_gets_an_environment_of_its_own(copy: Path) -> None:
    (copy / "scripts" / "bench" / "requirements.txt").touch()
    command = [str(copy / "scripts" / "bootstrap.sh"), "scripts/bench/requirements.txt", "var/bench/venv"]
    first, second = (subprocess.run(command, text=True, capture_output=True, check=True) for _ in range(2))
    assert "var/bench/venv" in first.stderr
    assert second.stderr == ""
    assert (copy / "var" / "bench" / "venv" / "bin" / "python").exists()
    assert not list((copy / "var").rglob("quickbg.pth"))
    assert not (copy / ".venv").exists()
