"""The manifests below deploy/kubernetes, against the code and the database. No cluster is needed."""

from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from sqlalchemy import text

from app.api.server import GRACEFUL
from app.core.config import MIB, PROJECT_ROOT, Settings
from app.core.states import TaskStatus
from app.core.timing import Timing
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from tests.deploy.files import COMMANDS, FOREIGN, PORT, SETTINGS
from tests.factories import ago, change, claim, make_task

FOLDER = PROJECT_ROOT / "deploy" / "kubernetes"
VERSION = "1.37"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    each for path in KUSTOMIZATION["resources"] for each in yaml.safe_load_all((FOLDER / path).read_text())
]
SECRET = yaml.safe_load((FOLDER / "secret.example.yaml").read_text())
WORKLOADS = {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] in {"Deployment", "Job"}}
PROCESSES = ("api", "worker", "sweeper")


def named(kind: str, name: str) -> Any:
    return next(each for each in OBJECTS if (each["kind"], each["metadata"]["name"]) == (kind, name))["spec"]


def pod(name: str) -> Any:
    return WORKLOADS[f"quickbg-{name}"]["spec"]["template"]["spec"]


def container(name: str) -> Any:
    (only,) = pod(name)["containers"]
    return only


@pytest.mark.parametrize("manifest", [*OBJECTS, SECRET], ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_it_is_what_kubernetes_knows(manifest: dict[str, Any]) -> None:
    if manifest["apiVersion"].startswith("keda.sh/"):
        assert manifest["spec"]  # KEDA's own kinds have no schema here
    else:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_every_file_is_applied_but_the_example() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {*KUSTOMIZATION["resources"], "kustomization.yaml", "secret.example.yaml"}
    assert not any("namespace" in each["metadata"] for each in OBJECTS)


@pytest.mark.parametrize("name", PROCESSES)
def test_our_processes_are_started_as_the_supervisor_does(name: str) -> None:
    assert container(name)["command"] == COMMANDS[name]


def test_the_migration_can_be_applied_before_the_rest() -> None:
    label = ("app.kubernetes.io/component", "setup")
    first = {each["kind"] for each in OBJECTS if label in each["metadata"].get("labels", {}).items()}
    assert first == {"ConfigMap", "ServiceAccount", "Job"}
    assert pod("migrate")["serviceAccountName"] == "quickbg"
    assert container("migrate")["command"] == ["alembic", "upgrade", "head"]


def test_every_variable_is_a_setting() -> None:
    data = next(each for each in OBJECTS if each["kind"] == "ConfigMap")["data"]
    assert set(data) | set(SECRET["stringData"]) <= SETTINGS | FOREIGN
    Settings(
        _env_file=None,
        **{name.lower(): value for name, value in (data | SECRET["stringData"]).items() if name in SETTINGS}
        | {"secret_key": "x" * 31 + "y"},
    )


@pytest.mark.parametrize("name", [*PROCESSES, "migrate"])
def test_everything_is_confined(name: str) -> None:
    assert pod(name)["automountServiceAccountToken"] is False
    assert pod(name)["securityContext"]["runAsNonRoot"] is True
    assert pod(name)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container(name)["resources"]["limits"]["memory"]
    assert container(name)["envFrom"] == [{"configMapRef": {"name": "quickbg"}}, {"secretRef": {"name": "quickbg"}}]
    assert {mount["mountPath"] for mount in container(name)["volumeMounts"]} == {"/tmp", "/logs"}  # noqa: S108


def test_the_apis_probes_ask_routes_that_are_there(settings: Settings) -> None:
    probes = {kind: container("api")[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: get["path"] for kind, get in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",  # which asks nothing else: the database's absence must not get the API killed
        "readiness": "/readyz",
    }
    assert {get["path"] for get in probes.values()} <= create_app(settings).openapi()["paths"].keys()
    assert container("api")["ports"] == [{"name": "http", "containerPort": PORT}]
    assert named("Service", "quickbg-api")["ports"][0]["targetPort"] == "http"


@pytest.mark.parametrize("name", ["worker", "sweeper"])
def test_no_dependency_gets_a_process_killed(name: str) -> None:
    probes = {key: value for key, value in container(name).items() if key.endswith("Probe")}
    assert probes.keys() == {"readinessProbe"}
    assert probes["readinessProbe"]["exec"]["command"] == ["python", "-m", "app.tasks.alive", name]


def test_a_stopping_process_has_the_time_that_it_takes() -> None:
    drain = float(next(each for each in OBJECTS if each["kind"] == "ConfigMap")["data"]["DRAIN_SECONDS"])
    assert pod("api")["terminationGracePeriodSeconds"] >= drain + GRACEFUL + 10
    assert pod("worker")["terminationGracePeriodSeconds"] >= 2 * Timing.soft_shutdown + 20
    readiness = container("api")["readinessProbe"]
    assert drain > readiness["periodSeconds"] * readiness["failureThreshold"]


@pytest.mark.parametrize("kind", ["PodDisruptionBudget", "Service", "NetworkPolicy"])
def test_selectors_find_their_pods(kind: str) -> None:
    pods = [
        each["spec"]["template"]["metadata"]["labels"] | KUSTOMIZATION["labels"][0]["pairs"]
        for each in WORKLOADS.values()
    ]
    chosen = [each["spec"] for each in OBJECTS if each["kind"] == kind]
    assert chosen
    for spec in chosen:
        selector = spec.get("podSelector") or spec["selector"]
        assert any(selector.get("matchLabels", selector).items() <= labels.items() for labels in pods)


def test_whoever_scales_names_what_is_there() -> None:
    for spec in (named("HorizontalPodAutoscaler", "quickbg-api"), named("ScaledObject", "quickbg-worker")):
        assert spec["scaleTargetRef"]["name"] in WORKLOADS
        assert "replicas" not in WORKLOADS[spec["scaleTargetRef"]["name"]]["spec"]
    assert named("HorizontalPodAutoscaler", "quickbg-api")["minReplicas"] == 2


def test_the_ingress_lets_through_what_the_api_reads() -> None:
    annotations = next(each for each in OBJECTS if each["kind"] == "Ingress")["metadata"]["annotations"]
    most = 2 * Settings.model_fields["max_image_bytes"].default + MIB
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == f"{most // MIB}m"


def test_keda_counts_what_a_worker_could_do_or_does(sessions: Sessions, user: User) -> None:
    (trigger,) = named("ScaledObject", "quickbg-worker")["triggers"]
    query = text(trigger["metadata"]["query"])
    with sessions() as session:
        assert session.scalar(query) == 0
    make_task(sessions, user.id)
    claim(sessions, make_task(sessions, user.id))
    for run_at in (ago(1), ago(-600)):  # the time of the second one has not come
        held = claim(sessions, make_task(sessions, user.id))
        assert held
        change(sessions, held.task_id, status=TaskStatus.RETRYING, lease_until=None, run_at=run_at)
    change(sessions, make_task(sessions, user.id), status=TaskStatus.CANCELLED, finished_at=ago(1))
    with sessions() as session:
        assert session.scalar(query) == 3


def test_keda_finds_the_address_of_the_database() -> None:
    (trigger,) = named("ScaledObject", "quickbg-worker")["triggers"]
    (reference,) = named("TriggerAuthentication", trigger["authenticationRef"]["name"])["secretTargetRef"]
    assert (reference["name"], reference["parameter"]) == (SECRET["metadata"]["name"], "connection")
    assert SECRET["stringData"][reference["key"]].startswith("postgresql://")
