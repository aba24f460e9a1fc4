"""What a fresh installation needs before it can serve: the bucket, and the local user of the command line."""

from uuid import UUID

from app.db import users
from app.db.base import Sessions
from app.storage.base import ObjectStore

LOCAL_EMAIL = "local@localhost"


def provision(sessions: Sessions, store: ObjectStore, local_user_id: UUID) -> None:
    """Make the bucket and the local user, unless they are there. That user has no password: nobody logs in as him."""
    store.prepare()
    with sessions.begin() as session:
        if users.by_id(session, local_user_id) is None:
            users.create(session, local_user_id, LOCAL_EMAIL)
