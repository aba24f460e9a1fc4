"""The portable engine: onnxruntime, on the processor or on an NVIDIA GPU."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from app.imaging.engines.base import EXTERNAL_DATA, INPUT_SHAPE, NOT_ISNET, OTHER_ENDS, has_external_data
from app.imaging.errors import EngineUnavailable, ModelUnavailable

Device = Literal["cpu", "cuda", "tensorrt"]

OF_PYTHON = (RuntimeError, ValueError, TypeError, OSError, MemoryError)
PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


class OnnxRuntimeEngine:
    """A network through onnxruntime: in fp32, on TensorRT in fp16."""

    name = "onnxruntime"

    def __init__(
        self,
        model: Path | bytes,
        threads: int,
        device: Device = "cpu",
        cache_dir: Path | None = None,
        side: int = INPUT_SHAPE[-1],
    ) -> None:
        """Loads the network (IS-Net on a processor: about 0.4 s, 1.4 GB resident after the first run).

        Create it in the process that uses it: a session does not survive a fork.

        Args:
            model: an ONNX file or its bytes. Of several outputs, `output` or else the first is used.
            threads: how many threads one inference may use.
            device: what computes. Any other than "cpu" needs the package onnxruntime-gpu in onnxruntime's place.
            cache_dir: where TensorRT keeps what it has built, which takes it minutes.
            side: of the square that the network sees.

        Raises:
            ModelUnavailable: not to be read, no network, of another square, or data kept in another file.
            EngineUnavailable: the device is not there.
        """
        self.precision = "fp16" if device == "tensorrt" else "fp32"
        require(device)
        try:
            if has_external_data(model):
                raise ModelUnavailable(EXTERNAL_DATA)
            self._session = ort.InferenceSession(
                model if isinstance(model, bytes) else str(model),
                sess_options=_options(threads),
                providers=_providers(device, cache_dir),
            )
        except ModelUnavailable:
            raise
        except Exception as error:  # onnxruntime's errors have no base class of their own
            if not isinstance(error, OF_PYTHON) and not type(error).__module__.startswith("onnxruntime"):
                raise  # somebody's word that the time is up
            raise ModelUnavailable(f"The model cannot be loaded: {error}") from error
        if self._session.get_providers()[0] != PROVIDERS[device]:
            # onnxruntime only logs it, and would compute on the processor instead.
            raise EngineUnavailable(f"No GPU can be used: onnxruntime found {device} and could not start it")
        self._input, self._output = _ends(self._session, side)

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """See `Engine.infer`."""
        (output,) = self._session.run([self._output], {self._input: blob})
        return np.asarray(output, dtype=np.float32).reshape(blob.shape[2:])


def require(device: Device) -> None:
    """Raises `EngineUnavailable` when this onnxruntime was not built for the device."""
    if PROVIDERS[device] not in ort.get_available_providers():
        raise EngineUnavailable(f"No GPU can be used: the installed onnxruntime has no {device} (onnxruntime-gpu has)")


def _providers(device: Device, cache_dir: Path | None) -> list[tuple[str, dict[str, Any]]]:
    """The device first, and what may take over the nodes that it cannot run."""
    cuda: tuple[str, dict[str, Any]] = (PROVIDERS["cuda"], {})
    cpu: tuple[str, dict[str, Any]] = (PROVIDERS["cpu"], {})
    if device == "cpu":
        return [cpu]
    if device == "cuda":
        return [cuda, cpu]
    built = {} if cache_dir is None else {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache_dir)}
    return [(PROVIDERS["tensorrt"], {"trt_fp16_enable": True, **built}), cuda, cpu]


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Spinning threads would take the cores from the other children between two pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _ends(session: ort.InferenceSession, side: int) -> tuple[str, str]:
    """The names of the input and of the output that counts."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    output = next((end for end in outputs if end.name == "output"), outputs[0])
    wanted = ((inputs[0], (1, 3, side, side)), (output, (1, 1, side, side)))
    fits = [(end.type, _fits(end.shape, shape)) for end, shape in wanted]
    if len(inputs) != 1 or fits != [("tensor(float)", True)] * 2:
        raise ModelUnavailable(NOT_ISNET if side == INPUT_SHAPE[-1] else OTHER_ENDS)
    return inputs[0].name, output.name


def _fits(found: list[int | str | None], wanted: tuple[int, ...]) -> bool:
    """A dimension that the file leaves open (a name, or nothing) fits."""
    return len(found) == len(wanted) and all(
        not isinstance(has, int) or has == wants for has, wants in zip(found, wanted, strict=True)
    )
