"""Where the migrations are, and whether a database has had them all."""

from dataclasses import dataclass

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.config import PROJECT_ROOT


def alembic_config(url: str | None = None) -> Config:
    """The migrations of this project, wherever the process was started."""
    config = Config()  # not alembic.ini, which cannot name a folder with a % in its path
    config.set_main_option("script_location", str(PROJECT_ROOT / "alembic").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if url is not None:
        config.attributes["url"] = url
    return config


@dataclass(frozen=True)
class Schema:
    """What this code knows of the database's shape: all its migrations, and the newest of them."""

    head: str
    known: frozenset[str]

    @classmethod
    def of_this_code(cls) -> "Schema":
        scripts = ScriptDirectory.from_config(alembic_config())
        head = scripts.get_current_head()
        if head is None:
            raise RuntimeError("There are no migrations.")
        return cls(head, frozenset(script.revision for script in scripts.walk_revisions()))

    def is_ahead(self, revision: str | None) -> bool:
        """Whether a newer version of the code has migrated the database."""
        return revision is not None and revision not in self.known

    def fits(self, revision: str | None) -> bool:
        """Whether this code can work with the database.

        It can with a newer one: migrations only add what the version before them does not miss, so that both versions
        run while one takes the other's place.
        """
        return revision == self.head or self.is_ahead(revision)


def current_revision(session: Session) -> str | None:
    """The migration that the database is at; None for an empty database."""
    if session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    return session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
