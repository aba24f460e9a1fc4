"""`python -m app.embedded.provision USER_ID`: bring the database, the bucket and the local user up to date."""

import sys
from uuid import UUID

from alembic import command

from app.core.config import load_settings
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
    main(UUID(sys.argv[1]))
