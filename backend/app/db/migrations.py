"""Where the migrations are, and whether a database has had them all."""

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.config import PROJECT_ROOT


def alembic_config(url: str | None = None) -> Config:
    """The migrations of this project, wherever the process was started."""
    config = Config(PROJECT_ROOT / "alembic.ini")
    if url is not None:
        config.attributes["url"] = url
    return config


def head_revision() -> str | None:
    """The newest migration that this code brings along."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def current_revision(session: Session) -> str | None:
    """The migration that the database is at; None for an empty database."""
    if session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    return session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
