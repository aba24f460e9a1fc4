"""The migrations: up, down and up again, one head, and the same tables as the models say."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Engine, inspect, text

from app.db.base import Base, make_engine, make_sessions
from app.db.migrations import Schema, alembic_config, current_revision
from tests.embedded_services import RunningServices


@pytest.fixture
def fresh(services: RunningServices) -> Iterator[Engine]:
    """An empty database."""
    url = services.env["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS migrations_test")
        connection.execute("CREATE DATABASE migrations_test")
    engine = make_engine("postgresql+psycopg" + url.removeprefix("postgresql").rsplit("/", 1)[0] + "/migrations_test")
    yield engine
    engine.dispose()


def test_up_down_and_up_again(fresh: Engine) -> None:
    config = alembic_config(fresh.url.render_as_string(hide_password=False))
    command.upgrade(config, "head")
    command.downgrade(config, "base")
    assert inspect(fresh).get_table_names() == ["alembic_version"]
    with fresh.connect() as connection:
        left = connection.scalars(text("SELECT proname FROM pg_proc WHERE proname LIKE 'tasks_%'")).all()
    assert left == []
    command.upgrade(config, "head")
    assert set(inspect(fresh).get_table_names()) == {"alembic_version", *Base.metadata.tables}


def test_the_migrations_make_what_the_models_say(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_constraints_are_those_of_the_models(engine: Engine) -> None:
    """Autogenerate does not look at check constraints and index conditions; we do."""
    inspected = inspect(engine)
    for table in Base.metadata.sorted_tables:
        made = {check["name"] for check in inspected.get_check_constraints(table.name)}
        said = {c.name for c in table.constraints if isinstance(c, CheckConstraint)}
        assert made == said
    indexes = inspected.get_indexes("tasks")
    partial = {i["name"] for i in indexes if i.get("dialect_options", {}).get("postgresql_where")}
    said = {
        i.name for i in Base.metadata.tables["tasks"].indexes if i.dialect_options["postgresql"]["where"] is not None
    }
    assert partial == said


def test_one_head() -> None:
    assert len(ScriptDirectory.from_config(alembic_config()).get_heads()) == 1


def test_the_database_tells_its_revision(engine: Engine, fresh: Engine) -> None:
    with make_sessions(engine).begin() as session:
        assert current_revision(session) == Schema.of_this_code().head
    with make_sessions(fresh).begin() as session:
        assert current_revision(session) is None


def test_this_code_fits_its_own_database_and_a_newer_one() -> None:
    schema = Schema("0002", frozenset({"0001", "0002"}))
    assert [schema.fits(revision) for revision in ("0002", "0003", "0001", None)] == [True, True, False, False]
    assert [schema.is_ahead(revision) for revision in ("0002", "0003", "0001", None)] == [False, True, False, False]


def test_the_migrations_are_found_in_a_folder_with_a_percent_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    odd = tmp_path / "100% mine"
    odd.mkdir()
    (odd / "alembic").symlink_to(project / "alembic")
    monkeypatch.setattr("app.db.migrations.PROJECT_ROOT", odd)
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == Schema.of_this_code().head
