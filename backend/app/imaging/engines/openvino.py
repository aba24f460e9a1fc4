"""The engine of the first choice on processors: OpenVINO, in bf16 where the processor computes in it."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov

from app.imaging.engines.base import EXTERNAL_DATA, INPUT_SHAPE, NOT_ISNET, OUTPUT_SHAPE, has_external_data
from app.imaging.errors import ModelUnavailable, last_line

DEVICE = "CPU"
IR_SUFFIX = ".fp16"
"""Comes before `.xml`, `.bin` and `.sha256` in the names of the files of a network kept as OpenVINO's IR."""


class OpenVinoEngine:
    """IS-Net through OpenVINO's CPU plugin."""

    name = "openvino"

    def __init__(self, model: Path, threads: int, ir_dir: Path | None = None) -> None:
        """Loads the network (half a second to one; 0.6 GB resident after the first run).

        Args:
            model: an ONNX file. Of several outputs, `output` or else the first is used.
            threads: how many threads one inference may use.
            ir_dir: where the network is kept as IR in fp16, made at the first call: half the size, and less memory,
                since its pages are shared between processes. None, or a folder that cannot be written: it is read
                from the ONNX file each time.

        Raises:
            ModelUnavailable: not to be read, no network, or other shapes than IS-Net's.
        """
        core = ov.Core()
        self.precision = precision_of(core)
        try:
            network = _read(core, model, ir_dir)
            compiled = core.compile_model(network, DEVICE, _options(threads, self.precision))
        except ModelUnavailable:
            raise
        except Exception as error:  # OpenVINO raises plain RuntimeErrors, of several lines
            raise ModelUnavailable(f"The model cannot be loaded: {last_line(error)}") from error
        self._request = compiled.create_infer_request()

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """See `Engine.infer`."""
        self._request.infer({0: blob})
        # A copy: the tensor is the request's own, and the next run writes into it.
        return np.array(self._request.get_output_tensor(0).data, dtype=np.float32).reshape(OUTPUT_SHAPE[2:])


def precision_of(core: ov.Core) -> str:
    """What this processor computes in: "bf16", or else "fp32"."""
    return "bf16" if "BF16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES") else "fp32"


def _options(threads: int, precision: str) -> dict[str, str | int | bool]:
    return {
        "INFERENCE_PRECISION_HINT": precision.replace("fp", "f"),
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # Pinned, two processes of two threads each would share one core and leave the other one idle.
        "ENABLE_CPU_PINNING": False,
    }


def _read(core: ov.Core, model: Path, ir_dir: Path | None) -> ov.Model:
    kept = None if ir_dir is None else ir_dir / f"{model.stem}-{_digest(model)[:12]}{IR_SUFFIX}"
    if kept is not None and _is_whole(kept):
        # One that another version has written may be past this one: it is written anew.
        with suppress(RuntimeError):
            return core.read_model(_part(kept, ".xml"))
    if has_external_data(model):
        raise ModelUnavailable(EXTERNAL_DATA)
    network = _one_output(core.read_model(model))
    if kept is None:
        return network
    with suppress(OSError, RuntimeError):  # the latter is OpenVINO's for a full disk
        _keep(network, kept)
    return core.read_model(_part(kept, ".xml")) if _is_whole(kept) else network


def _one_output(network: ov.Model) -> ov.Model:
    """The network with the one output that counts.

    Raises:
        ModelUnavailable: its ends are not IS-Net's.
    """
    outputs = network.outputs
    output = next((end for end in outputs if "output" in end.get_names()), outputs[0])
    ends = [(network.inputs[0], INPUT_SHAPE), (output, OUTPUT_SHAPE)]
    fits = [end.get_partial_shape().compatible(ov.PartialShape(list(shape))) for end, shape in ends]
    if len(network.inputs) != 1 or not all(fits):
        raise ModelUnavailable(NOT_ISNET)
    if network.is_dynamic():
        network.reshape(list(INPUT_SHAPE))
    return ov.Model([output], network.get_parameters())


def _keep(network: ov.Model, kept: Path) -> None:
    """Writes the IR, and its checksums last: without them it does not count."""
    with _folder_beside(kept) as folder:
        ov.save_model(network, folder / "network.xml", compress_to_fp16=True)
        lines = []
        for ending in (".xml", ".bin"):
            made, target = folder / f"network{ending}", _part(kept, ending)
            made.chmod(0o644)
            lines.append(f"{_digest(made)}  {target.name}\n")
            made.replace(target)
        sums = folder / "sums"
        sums.write_text("".join(lines))
        sums.replace(_part(kept, ".sha256"))


@contextmanager
def _folder_beside(kept: Path) -> Iterator[Path]:
    """On the same file system, so that files can be moved into place; gone afterwards."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".ir-") as folder:
        yield Path(folder)


def _is_whole(kept: Path) -> bool:
    try:
        lines = _part(kept, ".sha256").read_text().splitlines()
        digests = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        files = [_part(kept, ".xml"), _part(kept, ".bin")]
        return all(digests.get(file.name) == _digest(file) for file in files)
    except (OSError, ValueError):
        return False


def _part(kept: Path, ending: str) -> Path:
    return kept.with_name(kept.name + ending)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
