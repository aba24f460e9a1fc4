"""Models besides the server's own: loaded late, one at a time, and what is said where one cannot be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.core.config import Settings
from app.core.errors import InvalidRequest
from app.core.models import Model
from app.core.options import RemovalOptions
from app.db.base import Sessions
from app.db.models import User
from app.imaging.errors import EngineUnavailable, ModelUnavailable
from app.imaging.models import ISNET_GENERAL_USE, ModelEntry
from app.services import about
from app.services.about import ModelRefused, check_model, offered, require_licence
from app.services.networks import ModelNotReady, OtherModels
from tests.conftest import make_settings
from tests.factories import row
from tests.services.test_processing import Bench

Blob = npt.NDArray[np.float32]


class Disc:
    """Marks a disc in the middle, in a square of whatever size it is shown."""

    name, precision = "disc", "fp32"

    def infer(self, blob: Blob) -> Blob:
        side = blob.shape[-1]
        rows, columns = np.indices((side, side)) - side // 2
        return np.asarray(np.hypot(rows, columns) < side / 4, dtype=np.float32)


class Failing:
    name, precision = "failing", "fp32"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def infer(self, blob: Blob) -> Blob:
        raise self.error


class Loads:
    """Notes what is loaded."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, entry: ModelEntry) -> Disc:
        self.names.append(entry.name)
        return Disc()


def run(others: OtherModels, name: str) -> Blob:
    engine, prepare = others.find(name)
    return engine.infer(prepare(np.zeros((60, 80, 3), np.uint8)))


def test_one_is_held_at_a_time_and_loaded_when_it_is_run() -> None:
    loads = Loads()
    others = OtherModels({"u2net", "isnet-anime"}, loads)
    others.find("u2net")
    assert loads.names == []
    sizes = [run(others, name).shape for name in ("u2net", "u2net", "isnet-anime", "u2net")]
    assert sizes == [(320, 320), (320, 320), (1024, 1024), (320, 320)]
    assert loads.names == ["u2net", "isnet-anime", "u2net"]


def test_one_that_is_switched_off() -> None:
    with pytest.raises(ModelNotReady, match="silueta is not switched on"):
        OtherModels({"u2net"}, Loads()).find("silueta")


def test_what_only_the_model_itself_can_say_is_told_in_a_sentence() -> None:
    def load(entry: ModelEntry) -> Disc:
        raise errors.pop()

    errors: list[Exception] = [
        ModelUnavailable("The model cannot be loaded: std::bad_alloc"),
        EngineUnavailable("No GPU can be used"),
        ModelUnavailable("The model u2net is not there"),
    ]
    others = OtherModels({"u2net"}, load)
    # No path of the server's: those are in its log.
    for said in (*["The model u2net is not ready on this server."] * 2, "u2net does not fit into the memory"):
        with pytest.raises(ModelNotReady, match=said) as caught:
            run(others, "u2net")
        assert (caught.value.code, caught.value.retryable) == ("model_unavailable", True)


def test_one_that_runs_out_of_memory_is_let_go() -> None:
    engines: list[Any] = [Disc(), Failing(RuntimeError("Failed to allocate memory for requested buffer"))]
    others = OtherModels({"u2net"}, lambda entry: engines.pop())
    with pytest.raises(ModelNotReady, match="WORKER_MEMORY_LIMIT_BYTES"):
        run(others, "u2net")
    assert run(others, "u2net").max() == 1


def test_a_fault_of_ours_is_not_hidden() -> None:
    others = OtherModels({"u2net"}, lambda entry: Failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        run(others, "u2net")


@pytest.fixture
def bench(settings: Settings, sessions: Sessions, tmp_path: Path) -> Bench:
    return Bench(settings, sessions, tmp_path)


def test_each_model_has_mattes_of_its_own(bench: Bench, user: User) -> None:
    loads = Loads()
    bench.others = OtherModels({"u2net"}, loads)
    for model in ("u2net", "isnet-general-use", "u2net"):
        task_id = bench.task(user, options={"model": model, "trim": False})
        bench.process(task_id)
        assert row(bench.sessions, task_id).status == "completed"
    assert loads.names == ["u2net"]
    assert bench.results()


def test_a_task_whose_model_is_missing_is_tried_again_and_says_why(bench: Bench, user: User) -> None:
    task_id = bench.task(user, options={"model": "u2net"})
    bench.process(task_id)
    task = row(bench.sessions, task_id)
    assert (task.status, task.error_code) == ("retrying", "model_unavailable")
    assert "EXTRA_MODELS" in str(task.error_message)


def test_only_what_the_operator_names_is_offered(environment: dict[str, str]) -> None:
    plain = make_settings(environment)
    more = make_settings(environment, extra_models="u2netp, isnet-general-use,birefnet-general,u2netp")
    assert [model.name for model in offered(plain)] == ["isnet-general-use"]
    assert [model.name for model in offered(more)] == ["isnet-general-use", "u2netp", "birefnet-general"]
    asked = RemovalOptions(model=Model.U2NETP)
    check_model(asked, more)
    with pytest.raises(
        InvalidRequest, match=r"u2netp is not switched on here; there is isnet-general-use\. .*EXTRA_MOD"
    ):
        check_model(asked, plain)


def test_a_setting_that_names_none_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="there is no model u3net; there are isnet-general-use, u2net,"):
        make_settings(environment, extra_models="u2net,u3net")


def test_the_guard_looks_at_all_of_them(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    require_licence(make_settings(environment, extra_models="bria-rmbg"))
    monkeypatch.setattr(about, "ISNET_GENERAL_USE", replace(ISNET_GENERAL_USE, commercial=True))
    require_licence(make_settings(environment, commercial_only=True))
    with pytest.raises(ModelRefused, match="COMMERCIAL_ONLY is set, and the licences of bria-rmbg are not cleared"):
        require_licence(make_settings(environment, extra_models="bria-rmbg", commercial_only=True))
