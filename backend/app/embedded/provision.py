"""`python -m app.embedded.provision USER_ID`: bring the database, the bucket and the local user up to date."""

import sys
from uuid import UUID

from alembic import command
from sqlalchemy.exc import OperationalError

from app.core.config import load_settings
from app.core.errors import AppError
from app.db.base import make_engine, make_sessions
from app.db.migrations import alembic_config
from app.services.provisioning import provision
from app.storage.s3 import S3Store


def main(local_user_id: UUID) -> None:
    """Migrate, then provision; repeats harmlessly."""
    settings = load_settings()
    command.upgrade(alembic_config(settings.sqlalchemy_url), "head")
    engine = make_engine(settings.sqlalchemy_url)
    try:
        provision(make_sessions(engine), S3Store(settings), local_user_id)
    finally:
        engine.dispose()


if __name__ == "__main__":
    try:
        main(UUID(sys.argv[1]))
    except OperationalError as error:
        sys.exit(f"quickbg: The database cannot be used: {str(error.orig).strip().splitlines()[0]}")
    except AppError as error:
        sys.exit(f"quickbg: {error}")
