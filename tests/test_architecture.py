"""The rules of the house, as tests."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

from app.core.config import Settings
from app.core.states import TERMINAL, TRANSITIONS, WAITING, TaskStatus
from app.imaging.matte import MIN_CONFIDENCE
from app.tasks.celery_app import FOREIGN, QUEUES, make_publisher_app, make_worker_app
from scripts.env_example import render

ROOT = Path(__file__).parents[1]
MAX_FILE, MAX_FUNCTION, MAX_ENDPOINT = 400, 60, 25


SOURCES = [path for folder in ("backend/app", "scripts", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.xdist_group("e2e")
def test_groups_of_tests_stay_together(request: pytest.FixtureRequest) -> None:
    """xdist writes the group into the name, and has forgotten to without a word."""
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("no groups are asked for")
    assert request.node.nodeid.endswith("@e2e")


def test_arrows_point_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename="pyproject.toml", cache_dir=None) == 0


# What only some rooms may import. The rest is banned by ruff (pyproject.toml), or by the contracts there.
ONLY_HERE = {
    "passlib": {"app/core/security.py"},
    "argon2": {"app/core/security.py"},
    "bcrypt": {"app/core/security.py"},
    "jwt": {"app/core/security.py"},
    # Who fetches what a stranger names is `outbound`; all others know whom they ask.
    "httpx2": {"app/outbound/", "app/imaging/weights_sources.py", "app/shell/client.py"},
    "httpcore2": {"app/outbound/"},
    "http.client": {"app/embedded/"},
    "urllib3": set(),
}


@pytest.mark.parametrize("package", ONLY_HERE)
def test_what_is_dangerous_has_one_room(package: str) -> None:
    importers = {
        str(path.relative_to(ROOT / "backend"))
        for path in sorted((ROOT / "backend").rglob("*.py"))
        if any(f"{name}.".startswith(f"{package}.") for name in _imported_by(path))
    }
    assert {name for name in importers if not name.startswith(tuple(ONLY_HERE[package]))} == set()


def _imported_by(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_no_import_cycle() -> None:
    graph = grimp.build_graph("app", cache_dir=None, exclude_type_checking_imports=True)
    # `weights` loads an engine inside a function, to try a file of the user's own.
    TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}).prepare()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("app.main", {"onnxruntime", "cv2", "rembg", "numba", "onnx"}),
        ("app.imaging.probe", {"onnxruntime", "cv2", "numpy"}),
        ("app.imaging.weights", {"onnxruntime", "cv2", "onnx"}),
    ],
)
def test_what_must_stay_light_loads_nothing_heavy(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    python = [sys.executable, "-c", code]
    found = subprocess.run(python, capture_output=True, text=True, check=True, cwd=ROOT / "backend")
    assert found.stdout.strip() == ""


def test_importing_the_api_or_the_queue_reads_no_settings() -> None:
    code = "import app.main, app.tasks.celery_app, app.tasks.worker, app.tasks.background_removal"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "backend", env={"DATABASE_URL": ""})


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            limit = MAX_ENDPOINT if "api/v1" in str(path) else MAX_FUNCTION
            assert lines <= limit, f"{node.name} has {lines} lines"


def test_the_example_settings_are_those_of_the_program() -> None:
    assert (ROOT / ".env.example").read_text() == render()


def test_the_default_threshold_is_the_measured_one() -> None:
    assert Settings.model_fields["min_confidence"].default == MIN_CONFIDENCE


def test_every_queue_has_a_worker(settings: Settings) -> None:
    consumed = {
        queue.name: (queue.exchange.name, queue.routing_key) for queue in make_worker_app(settings).conf.task_queues
    }
    # Each with an exchange of its own: bound to a common one, each would get a copy of every message.
    assert consumed == {name: (name, name) for name in (*QUEUES, FOREIGN)}
    # As foreign clients declare it: RabbitMQ refuses whoever declares a queue otherwise than it is.
    (foreign,) = (queue for queue in make_worker_app(settings).conf.task_queues if queue.name == FOREIGN)
    assert (foreign.queue_arguments, foreign.durable, foreign.exchange.type) == (None, True, "direct")


def test_the_publisher_sets_no_time_limits(settings: Settings) -> None:
    """Celery stamps the publisher's limits into the message, where they override the worker's."""
    conf = make_publisher_app(settings).conf
    assert (conf.task_time_limit, conf.task_soft_time_limit) == (None, None)
    worker = make_worker_app(settings).conf
    assert (worker.task_soft_time_limit, worker.task_time_limit) == (300, 315)


def test_the_worker_acknowledges_late_and_leaves_retries_to_the_rows(settings: Settings) -> None:
    conf = make_worker_app(settings).conf
    assert conf.task_acks_late
    assert conf.worker_prefetch_multiplier == 1
    assert conf.worker_pool_start_method == "spawn"
    assert not conf.task_reject_on_worker_lost
    assert conf.result_backend is None
    assert conf.accept_content == ["json"]


def test_the_moves_between_states_are_complete() -> None:
    assert set(TRANSITIONS) == set(TaskStatus)
    assert WAITING | TERMINAL | {TaskStatus.PROCESSING} == set(TaskStatus)
    assert all(TaskStatus.PROCESSING in TRANSITIONS[status] for status in WAITING)
