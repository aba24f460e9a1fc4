"""Data of an earlier Postgres: the real programs of both versions, out of the wheel."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from app.embedded import clusters, stack, upgrade
from app.embedded.clusters import MAJOR, USER
from app.embedded.layout import PROJECT_ROOT, EmbeddedError, Layout
from app.embedded.postgres import DATABASE, url
from app.embedded.privileges import Identity, postgres_identity
from app.embedded.service import Service, dies_with_parent
from app.embedded.state import State, load_or_create
from tests.embedded_services import wait_for

OLD = "16"


class Folder:
    """A data folder in which Postgres alone runs now and then."""

    def __init__(self, data: Path) -> None:
        self.layout = Layout.at(data)
        self.layout.make()
        self.state: State = load_or_create(self.layout)
        self.identity: Identity = postgres_identity(self.layout.data, clusters.program("initdb"))

    @property
    def service(self) -> Service:
        return stack.service(self.layout, self.state, "postgres")

    def query(self, statement: str) -> object:
        with psycopg.connect(url(self.state), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def make_old(self, options: Sequence[str]) -> None:
        programs = clusters.programs_of(OLD)
        assert programs is not None
        folder = self.layout.postgres
        folder.mkdir(mode=0o700)
        self.identity.own(folder)
        with (self.layout.data / "password").open("w") as file:
            file.write(self.state.postgres_password)
            file.flush()
            self.identity.own(Path(file.name))
            self.run(
                *(programs / "initdb", "-D", folder, "-U", USER, "--auth=scram-sha-256", f"--pwfile={file.name}"),
                *("-E", "UTF8", "--locale=C", *options),
            )
        self.run(programs / "postgres", "--single", "-D", folder, "postgres", given=f"CREATE DATABASE {DATABASE};\n")
        # As ours runs: see `embedded.postgres`.
        argv = ["-D", str(folder), *self.service.argv[self.service.argv.index("-h") :]]
        server = subprocess.Popen([*self.identity.prefix, str(programs / "postgres"), *argv], cwd="/")
        try:
            wait_for(self.service.ready, "the old Postgres is ready")
            self.query("CREATE TABLE kept (n int PRIMARY KEY, word text)")
            self.query("INSERT INTO kept SELECT n, 'Wörter ' || n FROM generate_series(1, 1000) n")
        finally:
            server.send_signal(signal.SIGQUIT)  # like a crash: the next start has to recover
            server.wait(30)

    def run(self, *command: object, given: str = "") -> None:
        clusters.must([*self.identity.prefix, *(str(part) for part in command)], given=given)

    def start(self) -> subprocess.Popen[bytes]:
        self.service.prepare()
        command = [*dies_with_parent(), sys.executable, "-m", "app.embedded.launch", str(self.layout.data), "postgres"]
        server = subprocess.Popen(command, cwd=PROJECT_ROOT / "backend")
        wait_for(self.service.ready, "Postgres is ready")
        return server

    def kept(self) -> object:
        return self.query("SELECT count(*), sum(n), max(word) FROM kept")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "Bil der; #1 %s 'ü")


def stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)
    server.wait(30)


@pytest.mark.parametrize("options", [(), ("--data-checksums",)], ids=["without checksums", "with checksums"])
def test_data_of_an_earlier_postgres_that_crashed_is_brought_along(folder: Folder, options: Sequence[str]) -> None:
    folder.make_old(options)
    said = upgrade.announcement(folder.layout)
    assert said == "Upgrading Postgres 16 to 18 (old data: postgres.old-16)"

    server = folder.start()
    try:
        assert folder.kept() == [(1000, 500500, "Wörter 999")]
        assert folder.query("SHOW data_checksums") == [("on",)]
        assert str(folder.query("SHOW server_version")).startswith(f"[('{MAJOR}.")
    finally:
        stop(server)

    assert (folder.layout.data / "postgres.old-16" / "PG_VERSION").read_text() == "16\n"
    assert upgrade.announcement(folder.layout) is None
    assert not (folder.layout.data / "postgres.new").exists()
    server = folder.start()  # and never again
    stop(server)


def test_an_upgrade_that_was_cut_off_between_its_last_two_steps_is_finished(folder: Folder) -> None:
    folder.service.prepare()
    folder.layout.postgres.rename(folder.layout.data / "postgres.upgraded")

    folder.service.prepare()

    assert (folder.layout.postgres / "PG_VERSION").read_text() == f"{MAJOR}\n"
    assert not (folder.layout.data / "postgres.upgraded").exists()


def test_an_upgrade_that_fails_leaves_the_data_as_it_was(folder: Folder) -> None:
    folder.make_old(())
    with pytest.raises(EmbeddedError, match=r"could not be upgraded: .*password.*; the data is as it was\.$"):
        upgrade.upgrade(folder.layout, "another password", folder.identity)
    assert (folder.layout.postgres / "PG_VERSION").read_text() == "16\n"

    server = folder.start()  # and does not stand in the way of the next try
    try:
        assert folder.kept() == [(1000, 500500, "Wörter 999")]
    finally:
        stop(server)


@pytest.mark.parametrize(
    ("major", "said"), [("14", "make a backup"), ("99", "go on with the newer one"), ("8.4", "make a backup")]
)
def test_data_of_a_postgres_that_we_do_not_have(folder: Folder, major: str, said: str) -> None:
    folder.layout.postgres.mkdir()
    (folder.layout.postgres / "PG_VERSION").write_text(f"{major}\n")
    with pytest.raises(EmbeddedError, match=said):
        folder.service.prepare()
    assert [path.name for path in folder.layout.postgres.iterdir()] == ["PG_VERSION"]


def test_the_old_data_of_an_earlier_upgrade_is_not_touched(folder: Folder) -> None:
    folder.layout.postgres.mkdir()
    (folder.layout.postgres / "PG_VERSION").write_text("16\n")
    (folder.layout.data / "postgres.old-16").mkdir()
    with pytest.raises(EmbeddedError, match="move it elsewhere"):
        folder.service.prepare()
