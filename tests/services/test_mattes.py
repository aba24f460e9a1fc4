"""What the network has found is found once: kept, waited for, judged when it comes back, and gone with its picture."""

import hashlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from app.core.config import Settings
from app.core.errors import StorageUnavailable
from app.core.states import TaskStatus, UploadStatus
from app.db import mattes as rows
from app.db import snapshots
from app.db.base import Sessions
from app.db.mattes import Wanted
from app.db.models import Matte, Task, Upload, User
from app.imaging.pipeline import CutoutOptions
from app.services import mattes as mattes_service
from app.services.audit import Audit
from app.services.mattes import Mattes, model_name
from app.services.pulse import Fenced
from app.services.retention import Cleaned, Retention
from app.storage.base import matte_key, matte_of_key
from app.storage.memory import MemoryStore
from tests.conftest import make_user
from tests.embedded_services import wait_for
from tests.factories import ago, change, row
from tests.pictures import encoded, subject
from tests.services.test_processing import Bench, failing

PICTURE = encoded(subject(200, 160))
OPTIONS = CutoutOptions()


@pytest.fixture
def bench(settings: Settings, sessions: Sessions, tmp_path: Path) -> Bench:
    return Bench(settings, sessions, tmp_path)


def make(bench: Bench, user: User, data: bytes = PICTURE, **columns: Any) -> UUID:
    """A queued task whose original is known by what it is."""
    task_id = bench.task(user, data, **columns)
    with bench.sessions.begin() as session:
        upload_id = row(bench.sessions, task_id).upload_id
        session.execute(update(Upload).where(Upload.id == upload_id).values(sha256=digest(data)))
    return task_id


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def run(bench: Bench, user: User, data: bytes = PICTURE, **columns: Any) -> UUID:
    task_id = make(bench, user, data, **columns)
    bench.process(task_id)
    return task_id


def kept(bench: Bench) -> list[Matte]:
    with bench.sessions.begin() as session:
        return list(session.scalars(select(Matte).order_by(Matte.created_at)))


def objects(bench: Bench) -> list[str]:
    return [key for key in bench.store.objects if key.startswith("mattes/")]


def result(bench: Bench, task_id: UUID) -> bytes:
    task = row(bench.sessions, task_id)
    assert (task.status, task.error_code) == (TaskStatus.COMPLETED, None)
    return bench.store.get(task.result_key or "")


def test_the_same_picture_again_costs_no_run_of_the_network(bench: Bench, user: User) -> None:
    first, second = run(bench, user), run(bench, user)
    assert bench.engine.runs == 1
    assert result(bench, first) == result(bench, second)
    (matte,) = kept(bench)
    assert (matte.model, matte.level, matte.dropped_at) == ("isnet-general-use", "balanced", None)
    assert objects(bench) == [matte_key(user.id, matte.id)]
    assert matte.size_bytes == len(bench.store.get(objects(bench)[0]))
    assert row(bench.sessions, second).confidence == pytest.approx(row(bench.sessions, first).confidence)
    assert ["inferring" in line["stages"] for line in bench.metrics()] == [True, False]


def test_other_options_are_made_of_the_same_matte(bench: Bench, user: User) -> None:
    run(bench, user)
    again = run(bench, user, options={"background": "#102030", "format": "jpg", "trim": False})
    assert bench.engine.runs == 1
    bench.store.objects = {key: value for key, value in bench.store.objects.items() if not key.startswith("mattes/")}
    anew = run(bench, user, options={"background": "#102030", "format": "jpg", "trim": False})
    assert bench.engine.runs == 2
    assert result(bench, again) == result(bench, anew)


@pytest.mark.parametrize(
    ("options", "level"),
    [({"refine": False}, "rembg"), ({"refine": False, "quality": "best"}, "rembg"), ({"quality": "best"}, "best")],
)
def test_each_level_has_its_own(bench: Bench, user: User, options: dict[str, Any], level: str) -> None:
    run(bench, user)
    run(bench, user, options=options)
    run(bench, user, options=options)
    assert bench.engine.runs == 2
    assert [matte.level for matte in kept(bench)] == ["balanced", level]


def test_accounts_have_nothing_in_common(bench: Bench, user: User) -> None:
    other = make_user(bench.sessions)
    run(bench, user)
    run(bench, other)
    assert bench.engine.runs == 2


def test_the_network_of_another_file_has_its_own(tmp_path: Path) -> None:
    assert model_name(None) == "isnet-general-use"
    (file := tmp_path / "own.onnx").write_bytes(b"one")
    first = model_name(file)
    file.write_bytes(b"other")
    assert model_name(file) != first


def test_six_at_once_are_one_run_for_two_children(bench: Bench, user: User) -> None:
    both = threading.Barrier(2, timeout=10)
    waiting = threading.Event()
    bench.engine.before = lambda: None if waiting.wait(10) else pytest.fail("nobody waited")
    tasks_ = [make(bench, user) for _ in range(6)]
    children = [Bench(bench.settings, bench.sessions, bench.folder / name) for name in "ab"]
    for child in children:
        child.store, child.engine = bench.store, bench.engine
        child.folder.mkdir()

    def work(child: Bench, its: list[UUID]) -> None:
        both.wait()
        for task_id in its:
            child.process(task_id)

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(work, child, tasks_[number::2]) for number, child in enumerate(children)]
        wait_for(lambda: all_begun(bench, tasks_[:2]), "both have begun")
        waiting.set()
        for future in done:
            future.result(30)
    assert bench.engine.runs == 1
    assert len({result(bench, task_id) for task_id in tasks_}) == 1
    assert len(objects(bench)) == 1


def all_begun(bench: Bench, task_ids: list[UUID]) -> bool:
    return all(row(bench.sessions, task_id).status == TaskStatus.PROCESSING for task_id in task_ids)


def promise(bench: Bench, user: User, age: float = 0) -> UUID:
    """Somebody makes the matte of the picture, since then."""
    matte_id = uuid4()
    with bench.sessions.begin() as session:
        assert rows.promise(session, matte_id, wanted(user), patience=mattes_service.PATIENCE)
        session.execute(update(Matte).where(Matte.id == matte_id).values(created_at=ago(age)))
    return matte_id


def wanted(user: User, data: bytes = PICTURE) -> Wanted:
    return Wanted(user.id, digest(data), "isnet-general-use", "balanced")


def test_who_waits_in_vain_makes_it_himself(bench: Bench, user: User) -> None:
    lost = promise(bench, user, age=mattes_service.PATIENCE + 1)
    result(bench, run(bench, user))
    assert bench.engine.runs == 1
    dropped, made = kept(bench)
    assert (dropped.id, dropped.dropped_at is None) == (lost, False)
    assert (made.dropped_at, made.stored_at is None) == (None, False)


def test_who_waits_is_taken_away_from_it(bench: Bench, user: User) -> None:
    promise(bench, user)

    def gone() -> None:
        raise Fenced("Cancelled.")

    mattes = Mattes(bench.sessions, bench.store, "isnet-general-use")
    with mattes.search(user.id, PICTURE, OPTIONS, gone) as search, pytest.raises(Fenced):
        search.find((160, 200))


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("a fault"), SystemExit(0)])
def test_nobody_waits_for_what_came_to_nothing(bench: Bench, user: User, fault: BaseException) -> None:
    task_id = make(bench, user)
    bench.engine.before = failing(fault)
    try:
        bench.process(task_id)
    except SystemExit:
        assert isinstance(fault, SystemExit)
    (matte,) = kept(bench)
    assert matte.dropped_at is not None
    with bench.sessions.begin() as session:
        assert rows.find(session, wanted(user)) is None


@pytest.mark.parametrize("damage", ["missing", "broken", "of another size"])
def test_a_matte_that_is_not_what_it_should_be_is_made_again(bench: Bench, user: User, damage: str) -> None:
    first = run(bench, user)
    (key,) = objects(bench)
    match damage:
        case "missing":
            bench.store.delete(key)
        case "broken":
            bench.store.put(key, io.BytesIO(bench.store.get(key)[:-40]), "image/png")
        case _:
            bench.store.put(key, io.BytesIO(encoded(subject(30, 30).convert("L"), "PNG")), "image/png")
    assert result(bench, run(bench, user)) == result(bench, first)
    assert bench.engine.runs == 2
    assert [matte.dropped_at is None for matte in kept(bench)] == [False, True]
    run(bench, user)
    assert bench.engine.runs == 2


def test_a_store_that_is_away_costs_no_result(bench: Bench, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    get, put = bench.store.get, bench.store.put

    def away(of: Callable[..., Any]) -> Callable[..., Any]:
        def ask(key: str, *rest: Any) -> Any:
            if key.startswith("mattes/"):
                raise StorageUnavailable("The object store cannot be reached.")
            return of(key, *rest)

        return ask

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "put", away(put))
        result(bench, run(bench, user))
    assert [matte.stored_at for matte in kept(bench)] == [None]
    result(bench, run(bench, user))
    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "get", away(get))
        result(bench, run(bench, user))
    assert bench.engine.runs == 3
    assert len([matte for matte in kept(bench) if matte.dropped_at is None]) == 1


def test_the_result_comes_before_the_matte(bench: Bench, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a fault of the database while it is stored is no fault of the task."""
    statuses: list[str] = []
    task_id = make(bench, user)

    def fail(*_: Any, **__: Any) -> Any:
        statuses.append(row(bench.sessions, task_id).status)
        raise OperationalError("UPDATE", {}, Exception("gone"))

    monkeypatch.setattr(rows, "mark_stored", fail)
    bench.process(task_id)
    assert statuses == ["completed"]
    task = row(bench.sessions, task_id)
    assert (task.status, task.retries) == ("completed", 0)
    assert [line["status"] for line in bench.metrics()] == ["completed"]
    (matte,) = kept(bench)
    assert matte.dropped_at is not None


def test_a_matte_whose_picture_was_deleted_meanwhile_is_not_kept(bench: Bench, user: User) -> None:
    task_id = make(bench, user)

    def forget() -> None:
        with bench.sessions.begin() as session:
            session.execute(update(Upload).values(status=UploadStatus.EXPIRED))
            assert rows.drop_unused(session, user.id, digest(PICTURE))

    bench.engine.before = forget
    bench.process(task_id)
    result(bench, task_id)
    assert objects(bench) == []


def test_a_picture_that_was_hardly_sure_is_judged_by_the_limit_of_today(bench: Bench, user: User) -> None:
    run(bench, user)
    bench.settings = bench.settings.model_copy(update={"min_confidence": 0.999})
    refused = run(bench, user)
    assert row(bench.sessions, refused).error_code == "unknown_foreground"
    assert bench.engine.runs == 1
    assert bench.metrics()[-1]["confidence"] == pytest.approx(bench.metrics()[0]["confidence"])


# ---- what becomes of them


def retention(bench: Bench) -> Retention:
    return Retention(bench.settings, bench.sessions, bench.store)


def spend(bench: Bench) -> None:
    """As if all originals were past their time, and all tasks still there."""
    age = bench.settings.original_retention_seconds + 60
    with bench.sessions.begin() as session:
        session.execute(update(Upload).values(created_at=ago(age)))
    for task_id in all_tasks(bench):
        change(bench.sessions, task_id, finished_at=ago(age))


def all_tasks(bench: Bench) -> list[UUID]:
    with bench.sessions.begin() as session:
        return [task_id for (task_id,) in session.execute(select(Task.id))]


def test_a_matte_goes_with_the_last_original(bench: Bench, user: User) -> None:
    first, _ = run(bench, user), run(bench, user)
    assert retention(bench).clean() == Cleaned(0, 0, 0, 0)
    with bench.sessions.begin() as session:
        upload_id = row(bench.sessions, first).upload_id
        session.execute(update(Upload).where(Upload.id == upload_id).values(status=UploadStatus.EXPIRED))
    retention(bench).clean()
    assert len(objects(bench)) == 1
    spend(bench)
    said = retention(bench).preview()
    assert said.objects == 2
    assert retention(bench).clean() == said
    assert (objects(bench), kept(bench)) == ([], [])
    assert retention(bench).clean() == Cleaned(0, 0, 0, 0)


def test_an_original_that_is_still_to_be_fetched_keeps_it(bench: Bench, user: User) -> None:
    run(bench, user)
    with bench.sessions.begin() as session:
        session.execute(update(Upload).values(status=UploadStatus.REMOTE, source_url="https://example.com/a.jpg"))
    retention(bench).clean()
    assert len(objects(bench)) == 1


def test_a_store_that_is_away_keeps_nothing_for_ever(bench: Bench, user: User) -> None:
    run(bench, user)

    class Away(MemoryStore):
        def delete(self, key: str) -> None:
            raise StorageUnavailable("The object store cannot be reached.")

    spend(bench)
    cut_off = replace(retention(bench), store=Away()).clean()
    assert cut_off.left == 2
    retention(bench).clean()
    assert (objects(bench), kept(bench)) == ([], [])


def test_what_a_killed_attempt_has_promised_goes_in_its_time(bench: Bench, user: User) -> None:
    """It may have stored the object, and not said so."""
    make(bench, user)
    bound = bench.settings.timing.attempt_bound
    grace = max(bound, bench.settings.orphan_grace_seconds)
    young = promise(bench, user)
    bench.store.put(matte_key(user.id, young), io.BytesIO(b"matte"), "image/png")
    retention(bench).clean()
    assert objects(bench)
    with bench.sessions.begin() as session:
        rows.drop(session, young)  # somebody has lost his patience
    retention(bench).clean()
    assert objects(bench), "it may still be stored"
    with bench.sessions.begin() as session:
        session.execute(update(Matte).values(created_at=ago(grace + 1), dropped_at=None))
    assert retention(bench).clean() == Cleaned(0, 0, 0, 0)
    assert (objects(bench), kept(bench)) == ([], [])


def test_the_audit_knows_them(bench: Bench, user: User) -> None:
    run(bench, user)
    (key,) = objects(bench)
    lost = matte_key(user.id, uuid4())
    for other in (lost, "mattes/nobody's"):
        bench.store.put(other, io.BytesIO(b"matte"), "image/png")
    for each in bench.store.objects:
        bench.store.times[each] = datetime.now(UTC) - timedelta(days=2)
    assert Audit(bench.sessions, bench.store).run(delete=True).deleted == 2
    assert objects(bench) == [key]
    assert matte_of_key(key) == kept(bench)[0].id


def test_a_backup_has_them(bench: Bench, user: User) -> None:
    run(bench, user)
    promise_of_another = Wanted(user.id, "0", "isnet-general-use", "best")
    with bench.sessions.begin() as session:
        rows.promise(session, uuid4(), promise_of_another, patience=1)
    (matte,) = kept(bench)[:1]
    with snapshots.snapshot(bench.settings.sqlalchemy_url) as session:
        named = dict(snapshots.stored_objects(session))
    assert named[matte_key(user.id, matte.id)] == matte.size_bytes
    assert len([key for key in named if key.startswith("mattes/")]) == 1
