"""Accounts, what they own, and everything that they can show at a door."""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, update

from app.core.api_keys import make_key
from app.core.config import Settings
from app.core.security import create_access_token
from app.core.states import TERMINAL, TaskStatus
from app.db import api_keys, logins, recipes, users
from app.db.base import Base, Sessions
from app.db.models import ApiKey, Login, User
from app.services.identity import Scope
from app.services.status import make_cursor
from app.storage.base import import_key
from app.storage.s3 import S3Store
from tests.factories import RESULT, ago, make_batch, make_task
from tests.pictures import encoded
from tests.webhooks.messages import make_delivery

Headers = dict[str, str]
STATUSES: dict[TaskStatus, dict[str, Any]] = {
    TaskStatus.QUEUED: {},
    TaskStatus.PROCESSING: {"lease_until": func.now() + timedelta(minutes=1), "attempt": 1},
    TaskStatus.RETRYING: {"retries": 1, "attempt": 1},
    TaskStatus.COMPLETED: {"finished_at": func.now(), "progress": 100, "result_key": RESULT.key},
    TaskStatus.FAILED: {"finished_at": func.now(), "error_code": "internal_error"},
    TaskStatus.CANCELLED: {"finished_at": func.now()},
    TaskStatus.EXPIRED: {"finished_at": func.now()},
}


@dataclass(frozen=True)
class Person:
    """An account, with the means to come in."""

    settings: Settings
    sessions: Sessions
    id: UUID

    @property
    def email(self) -> str:
        return f"{self.id}@example.com"

    def bearer(self, *, ttl: float = 900, version: int = 0, login_id: UUID | None = None) -> Headers:
        secret = self.settings.secret_key.get_secret_value()
        token = create_access_token(self.id, secret=secret, ttl_seconds=ttl, token_version=version, login_id=login_id)
        return {"Authorization": f"Bearer {token}"}

    def login(self, *, revoked: bool = False) -> Headers:
        """A token that belongs to a login."""
        login_id = uuid4()
        with self.sessions.begin() as session:
            logins.begin(session, login_id, self.id, uuid4(), ttl=3600)
            if revoked:
                session.execute(update(Login).where(Login.id == login_id).values(revoked_at=func.now()))
        return self.bearer(login_id=login_id)

    def key(self, scopes: Iterable[Scope], **columns: Any) -> Headers:
        key, made = make_key(), uuid4()
        with self.sessions.begin() as session:
            api_keys.add(
                session,
                made,
                self.id,
                prefix=key.prefix,
                digest=key.digest,
                name="shop",
                scopes=sorted(scopes),
                expires=None,
            )
            if columns:
                session.execute(update(ApiKey).where(ApiKey.id == made).values(**columns))
        return {"X-API-Key": key.text}

    def change(self, **columns: Any) -> None:
        with self.sessions.begin() as session:
            session.execute(update(User).where(User.id == self.id).values(**columns))


def a_person(settings: Settings, sessions: Sessions, **columns: Any) -> Person:
    person = Person(settings, sessions, uuid4())
    with sessions.begin() as session:
        users.create(session, person.id, person.email)
    if columns:
        person.change(**columns)
    return person


def dead_credentials(settings: Settings, sessions: Sessions) -> dict[str, Headers]:
    """Everything that was good once, and what never was."""
    person, everything = a_person(settings, sessions, role="admin"), list(Scope)
    disabled = a_person(settings, sessions, role="admin", is_active=False)
    gone = Person(settings, sessions, uuid4())
    key = person.key(everything)["X-API-Key"]
    return {
        "nothing": {},
        "an expired token": person.bearer(ttl=-60),
        "the token of a login that was ended": person.login(revoked=True),
        "the token of a login that never was": person.bearer(login_id=uuid4()),
        "a token from before the password was changed": person.bearer(version=7),
        "a token of a disabled account": disabled.bearer(),
        "a token of no account": gone.bearer(),
        "no token": {"Authorization": "Bearer nonsense"},
        "an expired key": person.key(everything, expires_at=ago(1)),
        "a revoked key": person.key(everything, revoked_at=func.now()),
        "a key of a disabled account": disabled.key(everything),
        "a key with another's end": {"X-API-Key": key[:-4] + ("aaaa" if key[-4:] != "aaaa" else "bbbb")},
        "no key": {"X-API-Key": "nonsense"},
        "an expired token and a good key": person.bearer(ttl=-60) | {"X-API-Key": key},
    }


@dataclass(frozen=True)
class Belongings:
    """What an account owns, by the names of the fields that would name it; and the same names for nothing."""

    owner: Person
    tasks: dict[TaskStatus, UUID]
    batch_id: UUID
    key_id: UUID
    s3_key: str
    delivery_id: UUID
    recipe: str

    def ids(self, status: TaskStatus) -> dict[str, Any]:
        task_id = self.tasks[status]
        return {
            "task_id": str(task_id),
            "job_id": str(task_id),
            "task_ids": [str(task_id)],
            "flow_ids": [str(task_id)],
            "user_id": str(self.owner.id),
            "batch_id": str(self.batch_id),
            "key_id": str(self.key_id),
            "s3_key": self.s3_key,
            "s3_keys": [self.s3_key],
            "recipe": self.recipe,
            "recipe_name": self.recipe,
            "delivery_id": str(self.delivery_id),
            "cursor": make_cursor(datetime.now(UTC) + timedelta(days=1), task_id),
        }

    def traces(self) -> Iterator[str]:
        """What tells of them, wherever it stands."""
        yield from map(str, (self.owner.id, self.batch_id, self.key_id, self.delivery_id, *self.tasks.values()))


def missing_ids() -> dict[str, Any]:
    user_id = uuid4()
    return {
        "task_id": str(uuid4()),
        "job_id": str(uuid4()),
        "task_ids": [str(uuid4())],
        "flow_ids": [str(uuid4())],
        "user_id": str(user_id),
        "batch_id": str(uuid4()),
        "key_id": str(uuid4()),
        "s3_key": import_key(user_id, uuid4()),
        "s3_keys": [import_key(user_id, uuid4())],
        "recipe": "no-such-recipe",
        "recipe_name": "no-such-recipe",
        "delivery_id": str(uuid4()),
        "cursor": make_cursor(datetime.now(UTC) + timedelta(days=1), uuid4()),
    }


def belongings(owner: Person, store: S3Store) -> Belongings:
    """A task of each status, an API key, a recipe, a webhook message, and a picture in the store to be submitted."""
    sessions = owner.sessions
    batch_id = make_batch(sessions, owner.id)
    tasks = {
        status: make_task(
            sessions, owner.id, status=status, batch_id=batch_id if status in TERMINAL else None, **columns
        )
        for status, columns in STATUSES.items()
    }
    store.put(RESULT.key, io.BytesIO(encoded()), "image/png")
    s3_key = import_key(owner.id, uuid4())
    store.put(s3_key, io.BytesIO(encoded()), "image/jpeg")
    owner.key([Scope.READ])
    with sessions.begin() as session:
        recipe = recipes.add(session, owner.id, f"shop-{owner.id}", {"trim": False}).name
        key_id = session.scalars(select(ApiKey.id).where(ApiKey.user_id == owner.id)).one()
    delivery_id = make_delivery(sessions, owner.id, status="failed", ended_at=ago(1))
    return Belongings(owner, tasks, batch_id, key_id, s3_key, delivery_id, recipe)


def rows_of(sessions: Sessions, user_id: UUID) -> dict[str, str]:
    """Every row that is the account's, as text."""
    found = {}
    with sessions.begin() as session:
        for table in Base.metadata.sorted_tables:
            owner = table.c.id if table.name == "users" else table.c.get("user_id")
            if owner is not None:
                rows = session.execute(select(table).where(owner == user_id).order_by(*table.primary_key))
                found[table.name] = json.dumps([list(row) for row in rows], default=str)
    return found
