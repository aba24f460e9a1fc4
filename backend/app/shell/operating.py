"""What the scripts of an operator share: the settings, the database, and every fault as one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy.exc import OperationalError, ProgrammingError

from app.core.config import Settings, load_settings
from app.core.errors import AppError
from app.core.logging import configure_logging
from app.db.base import Sessions, make_engine, make_sessions
from app.embedded.layout import DEFAULT_DATA, Layout
from app.storage.base import ObjectStore
from app.storage.s3 import S3Store


@dataclass(frozen=True)
class Parts:
    settings: Settings
    sessions: Sessions
    store: ObjectStore


def _settings() -> Settings:
    """Those of the environment and `.env`; if they name no database, those of what `quickbg up` runs here."""
    with suppress(ValidationError):
        return Settings()
    # A server of somebody else's services has no packages for this, and needs none.
    with suppress(ImportError):
        from app.embedded.control import find  # noqa: PLC0415
        from app.shell.weights import settings_of  # noqa: PLC0415

        layout = Layout.at(DEFAULT_DATA)
        if (stack := find(layout)) is not None:
            return settings_of(layout, stack.state)
    return load_settings()


@contextmanager
def operating() -> Iterator[Parts]:
    """The parts that a script works on. A fault in the block ends the program with one line and exit code 1."""
    settings = _settings()
    configure_logging(settings.log_level)
    db = make_engine(settings.sqlalchemy_url, pool_size=2, max_overflow=0)
    try:
        yield Parts(settings, make_sessions(db), S3Store(settings))
    except AppError as error:
        sys.exit(f"quickbg: {error}")
    except OperationalError:
        sys.exit("quickbg: The database of DATABASE_URL cannot be reached.")
    except ProgrammingError:
        sys.exit("quickbg: The database is not of this version: alembic upgrade head")
    except (KeyboardInterrupt, EOFError):
        sys.exit("quickbg: Stopped.")
    finally:
        db.dispose()
