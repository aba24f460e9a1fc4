"""Which engine runs the network on this machine: the one that was asked for, or else the fastest that works."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from app.imaging.engines.base import Engine
from app.imaging.engines.onnxruntime import Device, OnnxRuntimeEngine, require
from app.imaging.errors import EngineUnavailable, ModelUnavailable, last_line

Wish = Literal["auto", "openvino", "onnxruntime", "cuda", "tensorrt"]

DEVICES: dict[Wish, Device] = {"onnxruntime": "cpu", "cuda": "cuda", "tensorrt": "tensorrt"}


@dataclass(frozen=True)
class Choice:
    """`wish`: never "auto". `reason`: why it was chosen, for people."""

    wish: Wish
    reason: str


def choose(wish: Wish) -> list[Choice]:
    """What to try, the best first. Loads the libraries to ask them, and no network.

    Raises:
        EngineUnavailable: what was asked for is not there. Never for "auto".
    """
    if wish == "openvino":
        return [Choice(wish, f"ENGINE asks for it; {_openvino()}")]
    if wish != "auto":
        require(DEVICES[wish])
        return [Choice(wish, "ENGINE asks for it")]
    found = []
    try:
        require("cuda")
        found.append(Choice("cuda", "this onnxruntime is built for GPUs"))
    except EngineUnavailable:
        pass
    try:
        found.append(Choice("openvino", _openvino()))
        portable = "the portable engine"
    except EngineUnavailable as error:
        portable = str(error)
    return [*found, Choice("onnxruntime", portable)]


def load(
    wish: Wish,
    model: Path,
    threads: int,
    cache_dir: Path,
    on_failure: Callable[[Wish, Exception], None] = lambda wish, error: None,
) -> tuple[Engine, str]:
    """The engine with the network loaded, and why it is this one, in words that strangers may read.

    Args:
        wish: what the settings ask for.
        model: the ONNX file.
        threads: how many threads one inference may use.
        cache_dir: where an engine may keep the network in a form of its own.
        on_failure: called with each engine that "auto" had to pass over, and what it said.

    Raises:
        EngineUnavailable: the one asked for, or its device, is not there.
        ModelUnavailable: the network cannot be loaded.
    """
    choices = choose(wish)
    failures: list[str] = []
    for choice in choices[:-1]:
        try:
            return _make(choice.wish, model, threads, cache_dir), "; ".join([*failures, choice.reason])
        except Exception as error:  # whatever it is, the next one may work
            on_failure(choice.wish, error)
            failures.append(f"{choice.wish} could not be started")
    return _make(choices[-1].wish, model, threads, cache_dir), "; ".join([*failures, choices[-1].reason])


def load_other(wish: Wish, model: Path, threads: int, cache_dir: Path, side: int) -> Engine:
    """A network other than IS-Net, which onnxruntime runs whatever runs IS-Net: on a GPU where the settings and the
    machine have one. Raises as `load` does."""
    devices: list[Device] = [DEVICES[choice.wish] for choice in choose(wish) if choice.wish in DEVICES] or ["cpu"]
    for device in devices[:-1]:
        with suppress(EngineUnavailable):  # as "auto" passes over it for IS-Net, which the log tells
            return OnnxRuntimeEngine(model, threads, device, cache_dir, side)
    return OnnxRuntimeEngine(model, threads, devices[-1], cache_dir, side)


def _make(wish: Wish, model: Path, threads: int, cache_dir: Path) -> Engine:
    if wish == "openvino":
        # Here and not above: where OpenVINO cannot be imported, onnxruntime still can.
        from app.imaging.engines.openvino import OpenVinoEngine  # noqa: PLC0415

        return OpenVinoEngine(model, threads, cache_dir)
    return OnnxRuntimeEngine(model, threads, DEVICES[wish], cache_dir)


def _openvino() -> str:
    """What speaks for OpenVINO here."""
    try:
        import openvino  # noqa: PLC0415 - see `_make`

        from app.imaging.engines.openvino import precision_of  # noqa: PLC0415

        precision = precision_of(openvino.Core())
    except (ImportError, RuntimeError) as error:
        raise EngineUnavailable(f"OpenVINO cannot be used here ({last_line(error)})") from error
    if precision == "bf16":
        return "this processor computes in bf16, which OpenVINO uses"
    return "OpenVINO needs half of the memory; this processor has no bf16"


def main(arguments: list[str]) -> None:
    """Loads the network once with the engine that was asked for, and exits: 78 and a sentence where that fails."""
    wish, model, cache_dir = arguments
    try:
        load(cast(Wish, wish), Path(model), 1, Path(cache_dir))
    except (EngineUnavailable, ModelUnavailable) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(78) from None


if __name__ == "__main__":
    main(sys.argv[1:])
