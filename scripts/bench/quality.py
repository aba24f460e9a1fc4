"""How clean the cut-outs are, beside rembg's: `quickbg bench quality`, or `python -m scripts.bench.quality`.

On pictures whose true alpha and colours are known, both sides make a cut-out of the same output of the same network,
and it is laid over four backgrounds. What counts is the mean absolute difference, of 255, to the true subject laid
over the same. rembg's side are its own functions.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

from app.core.capacity import Capacity
from app.core.errors import AppError
from app.embedded.stack import model_cache_dir
from app.imaging.decode import DecodedImage
from app.imaging.engines.base import Engine
from app.imaging.engines.choice import load
from app.imaging.isnet import preprocess
from app.imaging.pipeline import CutoutOptions, compose, find_matte
from app.imaging.weights import FILE_NAME
from app.shell.weights import ensure
from scripts.bench.pictures import Sample, drawn, load_folder, photograph
from scripts.bench.sides import BenchProblem

Bytes = npt.NDArray[np.uint8]
Raw = npt.NDArray[np.float32]
Way = Callable[[Sample, Raw], Bytes]

BACKGROUNDS = ("photo", "white", "green", "black")
BASE, BALANCED, BEST = "rembg", "QuickBG", "QuickBG, best"
SIZES = (0.5, 2.0)
_PHOTOGRAPH = "chelsea.png"  # behind no drawn picture, but for an unrecognisable corner of it


@dataclasses.dataclass(frozen=True)
class Score:
    """Of one cut-out. Errors: mean absolute, of 255. `seconds`: processor time from the network's output on."""

    group: str
    picture: str
    variant: str
    alpha: float
    over: dict[str, float]
    seconds: float

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.over.values())))


def main(arguments: Sequence[str]) -> None:
    """The command.

    Raises:
        BenchProblem: rembg is not installed, or the folder holds nothing fit.
        AppError: the weights cannot be fetched.
    """
    asked = _parse(arguments)
    cv2.setNumThreads(1)
    theirs = _rembg_ways(matting=asked.matting)
    ensure(model_cache_dir(), None)
    threads = Capacity.of_this_machine().threads
    engine, _ = load("auto", model_cache_dir() / FILE_NAME, threads, model_cache_dir())
    console = Console(width=max(Console().width, 110))  # in a file, or a narrow window, too
    groups: list[tuple[str, Iterable[Sample]]] = [(f"drawn, {size:g} MP", drawn(size)) for size in asked.megapixels]
    if asked.folder is not None:
        groups = [(asked.folder.absolute().name, load_folder(asked.folder))]
    scores: list[Score] = []
    for group, samples in groups:
        try:
            measured = [score for sample in samples for score in measure(group, sample, engine, theirs | our_ways())]
        except ValueError as error:
            raise BenchProblem(str(error)) from error
        console.print(as_table(group, measured))
        if asked.each:
            console.print(each_as_table(group, measured))
        scores += measured
    if asked.json is not None:
        asked.json.write_text(json.dumps([dataclasses.asdict(score) for score in scores], indent=1) + "\n")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="quickbg bench quality", description="How clean the cut-outs are, beside rembg's."
    )
    add = parser.add_argument
    add(
        "--megapixels",
        type=float,
        nargs="+",
        metavar="MP",
        default=list(SIZES),
        help="of the drawn pictures, 0.1 to 16",
    )
    add(
        "--folder",
        type=Path,
        help="pictures of your own instead: NAME.png, NAME-alpha.png and, where there is one, NAME-foreground.png",
    )
    add("--each", action="store_true", help="also a line for each picture")
    add("--json", type=Path, metavar="FILE", help="write the figures there")
    add("--no-matting", dest="matting", action="store_false", help="leave out rembg's alpha matting, which is slow")
    asked = parser.parse_args(arguments)
    if not all(0.1 <= size <= 16 for size in asked.megapixels):
        parser.error("sizes are megapixels, from 0.1 to 16")
    return asked


def measure(group: str, sample: Sample, engine: Engine, ways: dict[str, Way]) -> list[Score]:
    """All the ways' cut-outs of one picture."""
    raw = engine.infer(preprocess(sample.rgb)).copy()
    height, width = sample.alpha.shape
    behind = {name: np.zeros((height, width, 3), np.uint8) for name in BACKGROUNDS}
    behind["photo"] = photograph(_PHOTOGRAPH, width, height)
    behind["white"][:] = 255
    behind["green"][:] = (0, 255, 0)
    scores = []
    for variant, way in ways.items():
        begun = time.process_time()
        cutout = way(sample, raw)
        seconds = time.process_time() - begun
        colours, alpha = cutout[..., :3], cutout[..., 3]
        over = {
            name: difference(laid(colours, alpha, below), laid(sample.foreground, sample.alpha, below))
            for name, below in behind.items()
        }
        scores.append(Score(group, sample.name, variant, difference(alpha, sample.alpha), over, seconds))
    return scores


def laid(colours: Bytes, alpha: Bytes, background: Bytes) -> npt.NDArray[np.float32]:
    """The colours under their alpha over a background, not rounded."""
    weight = alpha.astype(np.float32)[..., None] / np.float32(255)
    return np.asarray(colours * weight + background * (1 - weight), dtype=np.float32)


def difference(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Mean absolute."""
    return float(np.abs(np.subtract(one, other, dtype=np.float32)).mean(dtype=np.float64))


def our_ways() -> dict[str, Way]:
    """QuickBG with each quality; and without refinement, whose values are rembg's."""
    return {
        BALANCED: _our_way(CutoutOptions(trim=False, min_confidence=0)),
        BEST: _our_way(CutoutOptions(trim=False, min_confidence=0, quality="best")),
        "QuickBG, not refined": _our_way(CutoutOptions(trim=False, min_confidence=0, refine=False)),
    }


def _our_way(options: CutoutOptions) -> Way:
    def cut(sample: Sample, raw: Raw) -> Bytes:
        image = DecodedImage(sample.rgb.copy(), None)  # its colours are changed
        bgra = compose(image, find_matte(raw, image, options).alpha, options).pixels
        return bgra[..., [2, 1, 0, 3]]

    return cut


def _rembg_ways(*, matting: bool) -> dict[str, Way]:
    """rembg's ways, on the mask that its session makes of the network's output."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not ours to mend
            # Here and not above: it takes seconds, half a minute the first time, and is there for developers only.
            from rembg import bg  # noqa: PLC0415
    except ImportError as error:
        raise BenchProblem("rembg is not installed here: pip install -r requirements-dev.txt") from error

    def way(cut_out: Callable[..., Image.Image], *settings: int) -> Way:
        def cut(sample: Sample, raw: Raw) -> Bytes:
            picture, mask = Image.fromarray(sample.rgb), _rembg_mask(raw, sample)
            # Its solver says what it tries next.
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                try:
                    return np.asarray(cut_out(picture, mask, *settings))
                except ValueError:  # nothing is sure; its `remove` goes on like this
                    return np.asarray(bg.naive_cutout(picture, mask))

        return cut

    ways = {BASE: way(bg.naive_cutout), "rembg, decontaminate": way(bg.decontaminate_cutout)}
    if matting:
        ways["rembg, alpha matting"] = way(bg.alpha_matting_cutout, 240, 10, 10)  # its default thresholds
    # The first calls compile.
    blank = Sample("", np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8))
    ramp = np.tile(np.clip(np.linspace(-1, 2, 1024, dtype=np.float32), 0, 1), (1024, 1))
    for warm_up in ways.values():
        warm_up(blank, ramp)
    return ways


def _rembg_mask(raw: Raw, sample: Sample) -> Image.Image:
    """As in `rembg.sessions.dis_general_use`."""
    stretched = (raw - raw.min()) / (raw.max() - raw.min())
    mask = Image.fromarray((stretched * 255).astype(np.uint8))
    return mask.resize((sample.rgb.shape[1], sample.rgb.shape[0]), Image.Resampling.LANCZOS)


def as_table(group: str, scores: Sequence[Score]) -> Table:
    """Means over the pictures; a ratio is the mean over the pictures of the picture's own."""
    table = Table(title=f"{group}: error of 255", title_justify="left")
    for head in ("", "alpha", *BACKGROUNDS, "mean", f"÷ {BASE}", "worst", "seconds"):
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    base = {score.picture: score.mean for score in scores if score.variant == BASE}
    for variant in dict.fromkeys(score.variant for score in scores):
        mine = [score for score in scores if score.variant == variant]
        ratios = [score.mean / base[score.picture] for score in mine]
        errors = [[score.alpha, *score.over.values(), score.mean] for score in mine]
        table.add_row(
            variant,
            *(f"{value:.2f}" for value in np.mean(errors, axis=0)),
            f"{np.mean(ratios):.2f}",
            f"{max(ratios):.2f}",
            f"{np.mean([score.seconds for score in mine]):.2f}",
        )
    return table


def each_as_table(group: str, scores: Sequence[Score]) -> Table:
    """The mean error of each picture, by variant."""
    table = Table(title=f"{group}: error of each picture, mean over the backgrounds", title_justify="left")
    variants = list(dict.fromkeys(score.variant for score in scores))
    for head in ("", *variants):
        table.add_column(head, justify="right" if head else "left")
    for picture in dict.fromkeys(score.picture for score in scores):
        mean = {score.variant: score.mean for score in scores if score.picture == picture}
        table.add_row(picture, *(f"{mean[variant]:.2f}" for variant in variants))
    return table


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (AppError, BenchProblem) as problem:
        sys.exit(f"quickbg: {problem}")
