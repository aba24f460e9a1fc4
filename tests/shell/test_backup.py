"""Backup and restore of a stopped service: real Postgres, real SeaweedFS, and the commands as a person calls them."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from sqlalchemy import text

from app.core.config import Settings
from app.core.options import ResultFormat
from app.db import heartbeats, tasks
from app.db.base import Base, Sessions, make_engine, make_sessions
from app.db.migrations import Schema, alembic_config, current_revision
from app.db.tasks import Result
from app.embedded.control import start_stores, starting
from app.embedded.layout import Layout
from app.embedded.provisioning import provision
from app.embedded.state import State, load, load_or_create
from app.services.retention import Retention
from app.shell.archive import MANIFEST, Writer
from app.shell.backup import save_database, save_objects
from app.shell.weights import settings_of
from app.storage.base import result_key
from app.storage.s3 import S3Store
from tests.embedded_services import wait_for
from tests.factories import TIMING, ago, change, claim, make_task
from tests.pictures import encoded
from tests.shell.test_archive import manifest_text, rewritten

pytestmark = pytest.mark.timeout(400)

Contents = tuple[dict[str, list[Any]], dict[str, tuple[bytes, str]]]


class Stores:
    """The database and the objects of a data folder, while nothing else runs on it."""

    def __init__(self, layout: Layout, state: State, sessions: Sessions, settings: Settings) -> None:
        self.layout, self.state, self.sessions, self.settings = layout, state, sessions, settings
        self.objects = S3Store(settings)
        self._bucket = settings.s3_bucket_name

    def contents(self) -> Contents:
        """Every row of every table, and every object that a row names, with its type."""
        with self.sessions.begin() as session:
            rows = {
                table.name: sorted(list(map(str, each)) for each in session.execute(table.select()))
                for table in Base.metadata.sorted_tables
                if table.name != "worker_heartbeats"
            }
            keys = session.scalars(text("SELECT key FROM uploads UNION SELECT result_key FROM tasks")).all()
        found = {key: self._object(key) for key in keys if key}
        return rows, {key: each for key, each in found.items() if each is not None}

    def _object(self, key: str) -> tuple[bytes, str] | None:
        client = self.objects._client
        try:
            answer = client.get_object(Bucket=self._bucket, Key=key)
        except client.exceptions.NoSuchKey:
            return None
        return answer["Body"].read(), answer["ContentType"]


@contextmanager
def stores(layout: Layout) -> Iterator[Stores]:
    layout.make()
    with starting(layout):
        stack = start_stores(layout, on_step=lambda name: None)
        settings = settings_of(layout, stack.state)
        engine = make_engine(settings.sqlalchemy_url)
        try:
            yield Stores(layout, stack.state, make_sessions(engine), settings)
        finally:
            engine.dispose()
            stack.stop()


def fill(made: Stores) -> None:
    """One task of each kind, their objects, the sign of life of a worker."""
    provision(made.layout, made.state)
    user = made.state.local_user_id
    queued, working, done = (make_task(made.sessions, user) for _ in range(3))
    assert claim(made.sessions, working)
    change(made.sessions, working, lease_until=ago(1))
    claimed = claim(made.sessions, done)
    assert claimed is not None
    key = result_key(user, done, claimed.attempt, ResultFormat.PNG)
    made.objects.put(key, io.BytesIO(encoded(kind="PNG")), "image/png")
    with made.sessions.begin() as session:
        assert tasks.complete(session, claimed, Result(key, 1234, 80, 60, 0.9))
        heartbeats.beat(session, "host:1", "worker")
    for number, task_id in enumerate((queued, working, done)):
        made.objects.put(original_of(made.sessions, task_id), io.BytesIO(encoded() + bytes([number])), ORIGINAL_TYPE)


ORIGINAL_TYPE = "application/octet-stream"


def original_of(sessions: Sessions, task_id: UUID) -> str:
    with sessions.begin() as session:
        query = text("SELECT key FROM uploads JOIN tasks ON tasks.upload_id = uploads.id WHERE tasks.id = :id")
        return str(session.execute(query, {"id": task_id}).scalar_one())


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, Contents]:
    layout = Layout.at(tmp_path_factory.mktemp("origin") / "data")
    with stores(layout) as made:
        fill(made)
        return layout, made.contents()


@pytest.fixture(scope="module")
def archive(origin: tuple[Layout, Contents], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the origin."""
    path = tmp_path_factory.mktemp("backups") / "backup.tar"
    done = run("backup", path, "--data", origin[0].data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path}: the database and 4 objects, ")
    return path


@pytest.fixture(scope="module")
def copy(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """What a restore makes of it."""
    layout = Layout.at(tmp_path_factory.mktemp("copy") / "data")
    restored(archive, layout)
    return layout


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        quickbg(*arguments), env=os.environ | environment, text=True, capture_output=True, check=False, timeout=200
    )


def quickbg(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "app.cli", *map(str, arguments)]


def refused(*arguments: object, code: int = 1, **environment: str) -> str:
    done = run(*arguments, **environment)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()[-1]


def restored(archive: Path, layout: Layout) -> None:
    done = run("restore", archive, "--data", layout.data)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def target(tmp_path: Path) -> Layout:
    return Layout.at(tmp_path / "restored")


def assert_empty(target: Layout) -> None:
    """Nothing is left of a failed try."""
    assert not target.restoring.exists()
    assert not target.state.exists()
    assert not target.postgres.exists()


def test_every_row_and_every_object_comes_back(origin: tuple[Layout, Contents], copy: Layout) -> None:
    before, (rows, objects) = origin
    assert {name: len(rows[name]) for name in ("users", "uploads", "tasks", "task_events")} == {
        "users": 1,
        "uploads": 3,
        "tasks": 3,
        "task_events": 6,
    }
    was, state = load(before), load(copy)
    assert was is not None
    assert state is not None
    assert state.local_user == was.local_user
    assert state.secret_key != was.secret_key
    assert state.postgres_password != was.postgres_password
    assert not copy.restoring.exists()
    with stores(copy) as made:
        assert made.contents() == (rows, objects)
        assert len(objects) == 4
        with made.sessions.begin() as session:
            assert heartbeats.online(session, "worker", timing=TIMING) == 0
            # The sweeper sees a lease that has run out, as after any other death.
            assert [status for _, status in tasks.reap(session, timing=TIMING)] == ["retrying"]


def test_an_object_that_is_gone_is_named_and_the_others_are_saved(copy: Layout, tmp_path: Path) -> None:
    with stores(copy) as made:
        _, objects = made.contents()
        gone, damaged = sorted(objects)[:2]
        made.objects.delete(gone)
        content = objects[damaged][0]
    damage(copy.s3, content)

    done = run("backup", tmp_path / "less.tar", "--data", copy.data)
    assert done.returncode == 1
    assert [line.rpartition(": ")[2] for line in done.stderr.splitlines()[-2:]] == [gone, damaged]
    again = Layout.at(tmp_path / "again")
    less = run("restore", tmp_path / "less.tar", "--data", again.data)
    assert less.returncode == 0
    assert "2 objects were missing when the backup was made." in less.stdout
    with stores(again) as made:
        assert set(made.contents()[1]) == set(objects) - {gone, damaged}


def test_what_is_deleted_in_its_time_meanwhile_is_not_missed(archive: Path, target: Layout, tmp_path: Path) -> None:
    restored(archive, target)
    with stores(target) as made, (tmp_path / "b.tar").open("wb") as file:
        writer = Writer(file)
        _, objects = save_database(made.settings, made.state, writer, tmp_path)
        now = made.settings.model_copy(update={"result_retention_seconds": 0, "original_retention_seconds": 0})
        cleaned = Retention(now, made.sessions, made.objects).clean()
        assert cleaned.objects
        assert save_objects(made.settings, objects, writer) == []


def test_a_backup_of_an_older_version_is_brought_up_to_date(tmp_path: Path, target: Layout) -> None:
    first, file = Layout.at(tmp_path / "first"), tmp_path / "first.tar"
    with stores(first) as made:
        command.upgrade(alembic_config(made.settings.sqlalchemy_url), "0001")
        with made.sessions.begin() as session:
            session.execute(text("INSERT INTO users (id, email) VALUES (gen_random_uuid(), 'ada@example.com')"))
    assert run("backup", file, "--data", first.data).returncode == 0
    restored(file, target)
    with stores(target) as made, made.sessions.begin() as session:
        assert current_revision(session) == Schema.of_this_code().head != "0001"
        assert session.execute(text("SELECT email FROM users")).scalars().all() == ["ada@example.com"]


def damage(folder: Path, content: bytes) -> None:
    """One byte of an object on the disk, in whichever volume it lies."""
    for volume in folder.rglob("*.dat"):
        data = volume.read_bytes()
        if content in data:
            at = data.index(content) + len(content) // 2
            volume.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            return
    raise AssertionError("the object is in no volume")


def test_what_exists_is_kept_unless_it_is_forced(origin: tuple[Layout, Contents], tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    file.write_text("mine")
    arguments = ("backup", file, "--data", origin[0].data)
    assert refused(*arguments, code=2) == f"quickbg: {file} exists already; --force replaces it."
    assert file.read_text() == "mine"
    assert run(*arguments, "--force").returncode == 0
    assert tarfile.is_tarfile(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["backup.tar"]


@pytest.mark.parametrize(
    ("name", "said", "code"),
    [
        ("backup.tar.gz", "a backup is a plain tar", 2),
        ("backup", "name it FILE.tar", 2),
        ("folder.tar", "is a folder", 2),
        ("no/backup.tar", "cannot be written: No such file or directory", 1),
    ],
)
def test_names_that_cannot_be_written(
    origin: tuple[Layout, Contents], tmp_path: Path, name: str, said: str, code: int
) -> None:
    (tmp_path / "folder.tar").mkdir()
    assert said in refused("backup", tmp_path / name, "--data", origin[0].data, code=code)


def test_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    assert "nothing has been started" in refused("backup", tmp_path / "b.tar", "--data", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []
    layout = Layout.at(tmp_path / "data")
    layout.make()
    load_or_create(layout)
    assert "the database is empty" in refused("backup", tmp_path / "b.tar", "--data", layout.data)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_interrupted_backup_leaves_nothing(origin: tuple[Layout, Contents], tmp_path: Path) -> None:
    with subprocess.Popen(quickbg("backup", tmp_path / "b.tar", "--data", origin[0].data)) as saving:
        wait_for(lambda: any(tmp_path.iterdir()), "the draft is there")
        saving.send_signal(signal.SIGTERM)
        assert saving.wait(60) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(origin: tuple[Layout, Contents], archive: Path, tmp_path: Path) -> None:
    assert "is in use already" in refused("restore", archive, "--data", origin[0].data)
    (tmp_path / "letter.txt").write_text("not ours")
    assert "holds other things" in refused("restore", archive, "--data", tmp_path)
    lost = Layout.at(tmp_path / "lost")
    (lost.s3 / "filerldb2").mkdir(parents=True)
    assert "is in use already" in refused("restore", archive, "--data", lost.data)


def test_a_damaged_backup_touches_nothing(archive: Path, tmp_path: Path, target: Layout) -> None:
    data = archive.read_bytes()
    picture = data.index(encoded())
    for damaged in (data[:picture] + b"?" + data[picture + 1 :], data[: len(data) // 2], b"", b"a letter"):
        (tmp_path / "damaged.tar").write_bytes(damaged)
        said = refused("restore", tmp_path / "damaged.tar", "--data", target.data)
        assert said.startswith(f"quickbg: {tmp_path / 'damaged.tar'} is ")
        assert not target.data.exists()


def test_a_backup_of_a_later_version_is_refused(tmp_path: Path, target: Layout) -> None:
    later = json.loads(manifest_text()) | {"revision": "9999", "quickbg": "9.0"}
    (tmp_path / "later.tar").write_bytes(
        rewritten(lambda members: members.update({MANIFEST: json.dumps(later).encode()}))
    )
    said = refused("restore", tmp_path / "later.tar", "--data", target.data)
    assert said == "quickbg: The backup was made by a newer QuickBG (9.0): restore it with that version."
    assert not target.data.exists()


def test_a_dump_that_is_none_is_one_sentence_and_leaves_nothing(archive: Path, tmp_path: Path, target: Layout) -> None:
    current = json.loads(manifest_of(archive))["revision"]
    known = json.loads(manifest_text()) | {"revision": current}
    odd = tmp_path / "odd.tar"
    odd.write_bytes(rewritten(lambda members: members.update({MANIFEST: json.dumps(known).encode()})))
    said = refused("restore", odd, "--data", target.data)
    assert said.startswith("quickbg: The database could not be restored: pg_restore: error:")
    assert_empty(target)


def manifest_of(archive: Path) -> bytes:
    with tarfile.open(archive) as tar:
        return tar.extractfile(MANIFEST).read()  # type: ignore[union-attr]


def test_an_interrupted_restore_leaves_a_folder_for_the_next_try(archive: Path, target: Layout) -> None:
    with subprocess.Popen(quickbg("restore", archive, "--data", target.data)) as putting:
        wait_for((target.restoring / "postgres").exists, "the restore is at work")
        putting.send_signal(signal.SIGINT)
        assert putting.wait(60) == 130
    assert_empty(target)
    restored(archive, target)


def test_a_killed_restore_is_told_and_cleared_by_the_next_try(archive: Path, target: Layout) -> None:
    with subprocess.Popen(quickbg("restore", archive, "--data", target.data), stderr=subprocess.DEVNULL) as putting:
        wait_for((target.restoring / "postgres").exists, "the restore is at work")
        putting.kill()
    # As if it had died between its last steps: a part is in its place already, and the state is not.
    target.postgres.mkdir()
    assert refused("up", "--data", target.data) == f"quickbg: The restore into {target.data} was cut off: repeat it."
    restored(archive, target)
    with stores(target) as made:
        assert len(made.contents()[1]) == 4
