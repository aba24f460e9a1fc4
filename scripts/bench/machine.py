"""What the machine is, how fast it multiplies, and how much memory processes have taken at most."""

import platform
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as opset

from app.core.capacity import usable_cores, usable_memory
from app.imaging.engines.openvino import precision_of
from app.version import VERSION
from scripts.bench.results import Machine

SIDE = 2048  # of the matrices
PRODUCTS = 40
PACKAGES = ("openvino", "onnxruntime", "opencv-python-headless", "pillow", "numpy")
PROC = Path("/proc")


def describe(gflops: Mapping[str, float]) -> Machine:
    """This machine. `gflops`: see `limits`."""
    return Machine(
        processor=_processor(),
        cores=usable_cores(),
        memory_gb=round(usable_memory() / 2**30, 1),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        gflops=dict(gflops),
    )


def our_versions() -> dict[str, str]:
    return {"quickbg": VERSION} | {name: version(name) for name in PACKAGES}


def _processor() -> str:
    with suppress(OSError):
        for line in (PROC / "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def limits() -> dict[str, float]:
    """GFLOP/s by precision: the best of some matrix products, in fp32 by two libraries. Takes some seconds."""
    square = np.random.default_rng(1).normal(size=(SIDE, SIDE)).astype(np.float32)
    reached = {"fp32": max(_reached(lambda: square @ square), _openvino(square, "f32"))}
    if precision_of(ov.Core()) == "bf16":
        reached["bf16"] = _openvino(square, "bf16")
    return {precision: round(value) for precision, value in reached.items()}


def _openvino(square: npt.NDArray[np.float32], precision: str) -> float:
    ends = [opset.parameter([SIDE, SIDE], np.float32) for _ in range(2)]
    network = ov.Model([opset.matmul(*ends, False, False)], ends)
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": usable_cores(), "NUM_STREAMS": 1}
    request = ov.Core().compile_model(network, "CPU", options).create_infer_request()
    return _reached(lambda: request.infer([square, square], share_inputs=True))


def _reached(multiply: Callable[[], object]) -> float:
    """GFLOP/s of the fastest product."""
    fastest = float("inf")
    for _ in range(PRODUCTS):
        begun = time.perf_counter()
        multiply()
        fastest = min(fastest, time.perf_counter() - begun)
    return float(2 * SIDE**3 / fastest / 1e9)


def family(root: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in brackets, may hold anything.
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(entry.parent.name))
    found = [root]
    for each in found:
        found.extend(parents.get(each, []))
    return found


def reset_peaks(processes: Iterable[int]) -> None:
    """From here on `peak_mb` tells what was resident at most. Where the kernel does not let us, since their start."""
    for process in processes:
        with suppress(OSError):
            (PROC / str(process) / "clear_refs").write_text("5")


def peak_mb(processes: Iterable[int]) -> int:
    """Peak resident memory of each, added up: what they share counts more than once."""
    kibibytes = 0
    for process in processes:
        with suppress(OSError):
            for line in (PROC / str(process) / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    kibibytes += int(line.split()[1])
    return round(kibibytes * 1024 / 1e6)
