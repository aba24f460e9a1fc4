"""What must hold after any mix of faults, read off the database, the bucket and what the clients were told.

Each function returns what it finds wrong, as sentences; nothing found is good.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from uuid import UUID

from sqlalchemy import select

from app.core.config import Settings
from app.core.errors import ObjectNotFound
from app.core.states import TERMINAL, TRANSITIONS, WAITING, TaskStatus, UploadStatus
from app.db.base import Sessions
from app.db.models import Matte, Task, TaskEvent, Upload
from app.services.retention import Cleaned, Retention
from app.storage.base import PREFIXES, ObjectStore, matte_key
from tests.faults import client
from tests.faults.client import Record

Finding = str
EMPTY = Cleaned(0, 0, 0, 0)


def check(
    settings: Settings, sessions: Sessions, store: ObjectStore, record: Record, expected: Callable[[int], str]
) -> Iterator[Finding]:
    """Everything that is checked below. Nothing of ours may be running."""
    yield from check_uploads(sessions, record)
    yield from check_history(sessions)
    yield from check_originals(sessions, record)
    yield from check_results(sessions, store, record, expected)
    yield from check_leftovers(settings, sessions, store)


def check_uploads(sessions: Sessions, record: Record) -> Iterator[Finding]:
    """What was promised was kept, once, and nothing else was made."""
    by_request = defaultdict[str | None, list[Task]](list)
    for task in _tasks(sessions):
        by_request[task.request_id].append(task)
    for upload in record.uploads:
        for finding in _check_upload(upload, by_request.pop(upload.request_id, [])):
            yield f"picture {upload.request_id}: {finding}"
    for request_id, tasks in by_request.items():
        yield f"{len(tasks)} tasks of {request_id}, which no client has sent"


def _check_upload(upload: client.Upload, made: Sequence[Task]) -> Iterator[Finding]:
    for refusal in upload.refusals:
        yield f"the client was answered {refusal}"
    if upload.outcome == "invoked":
        yield "the client still waits for an answer"
    if len(upload.answers) > 1:
        yield f"one key was answered with {len(upload.answers)} different tasks"
    if len(made) > 1:
        yield f"{len(made)} tasks for one key"
    if upload.answers and upload.task_id not in {task.id for task in made}:
        yield f"task {upload.task_id} was acknowledged, and is lost"
    for task in made:
        if task.status != TaskStatus.COMPLETED:
            yield f"task {task.id} is {task.status} ({task.error_code}), attempt {task.attempt}"


def check_history(sessions: Sessions) -> Iterator[Finding]:
    """Each task went only where a task may go."""
    events = defaultdict[UUID, list[TaskEvent]](list)
    with sessions.begin() as session:
        for event in session.scalars(select(TaskEvent).order_by(TaskEvent.id)):
            events[event.task_id].append(event)
    for task in _tasks(sessions):
        for finding in _check_path(task, events[task.id]):
            yield f"task {task.id}: {finding}"


def _check_path(task: Task, events: Sequence[TaskEvent]) -> Iterator[Finding]:
    if not events or (events[0].from_status, events[0].status, events[0].attempt) != (None, "queued", 0):
        yield "its history does not begin with being queued"
        return
    if (events[-1].status, events[-1].attempt) != (task.status, task.attempt):
        yield f"it is {task.status}, and its history says {events[-1].status}"
    completed = 0
    for earlier, later in pairwise(events):
        before, after = TaskStatus(earlier.status), TaskStatus(later.status)
        if later.from_status != before:
            yield f"it was {before}, and then came from {later.from_status}"
        if after not in TRANSITIONS[before]:
            yield f"it went from {before} to {after}"
        is_claim = before in WAITING and after == TaskStatus.PROCESSING
        if later.attempt != earlier.attempt + is_claim:
            yield f"attempt {earlier.attempt} ({before}) was followed by attempt {later.attempt} ({after})"
        if before in TERMINAL and after == TaskStatus.QUEUED:
            completed = 0  # a new run
        completed += after == TaskStatus.COMPLETED
        if after == TaskStatus.COMPLETED and completed > 1:
            yield f"it was completed {completed} times in one run"


def check_results(
    sessions: Sessions, store: ObjectStore, record: Record, expected: Callable[[int], str]
) -> Iterator[Finding]:
    """Whoever was told "completed" gets the very result that his own picture has."""
    numbers = {upload.request_id: upload.number for upload in record.uploads}
    for task in _tasks(sessions):
        if task.status != TaskStatus.COMPLETED or task.result_key is None or task.request_id not in numbers:
            continue
        try:
            data = store.get(task.result_key)
        except ObjectNotFound:
            yield f"task {task.id}: its result is not there"
            continue
        if len(data) != task.result_bytes:
            yield f"task {task.id}: its result has {len(data)} bytes, not {task.result_bytes}"
        if hashlib.sha256(data).hexdigest() != expected(numbers[task.request_id]):
            yield f"task {task.id}: its result is not that of picture {task.request_id}"


def check_originals(sessions: Sessions, record: Record) -> Iterator[Finding]:
    """The original of each task is what its client has sent."""
    sent = {upload.request_id: client.picture(upload.number) for upload in record.uploads}
    digests = {request_id: hashlib.sha256(data).hexdigest() for request_id, data in sent.items()}
    with sessions.begin() as session:
        for task_id, request_id, sha256 in session.execute(
            select(Task.id, Task.request_id, Upload.sha256).join(Upload, Upload.id == Task.upload_id)
        ):
            if request_id in digests and digests[request_id] != sha256:
                yield f"task {task_id}: its original is not what was sent"


def check_leftovers(settings: Settings, sessions: Sessions, store: ObjectStore) -> Iterator[Finding]:
    """After cleaning up, the bucket holds what the rows name and nothing else; a second time finds nothing to do.

    Nothing of ours may be running.
    """
    retention = Retention(settings, sessions, store)
    first = retention.clean()
    if first.left:
        yield f"the clean-up could not delete the objects of {first.left} rows"
    if (second := retention.clean()) != EMPTY:
        yield f"a second clean-up found something to do: {second}"
    named = _named(sessions)
    there = Counter(stored.key for prefix in PREFIXES for stored in store.list(prefix))
    for key in sorted(there.keys() - named - _promised(sessions)):
        yield f"object {key}: no row stands for it"
    for key in sorted(named - there.keys()):
        yield f"object {key}: a row stands for it, and it is not there"
    with sessions.begin() as session:
        for upload in session.scalars(select(Upload).where(Upload.status == UploadStatus.PENDING)):
            yield f"upload {upload.id}: it is still pending"


def _named(sessions: Sessions) -> set[str]:
    with sessions.begin() as session:
        originals = session.scalars(select(Upload.key).where(Upload.purged_at.is_(None))).all()
        results = session.scalars(select(Task.result_key).where(Task.result_key.is_not(None))).all()
        mattes = session.scalars(select(Matte).where(Matte.stored_at.is_not(None))).all()
    return {*originals, *(key for key in results if key), *(matte_key(m.user_id, m.id) for m in mattes)}


def _promised(sessions: Sessions) -> set[str]:
    """Mattes that may be there: their attempts died, and the clean-up lets go of them in its time."""
    with sessions.begin() as session:
        return {matte_key(m.user_id, m.id) for m in session.scalars(select(Matte).where(Matte.stored_at.is_(None)))}


def _tasks(sessions: Sessions) -> Sequence[Task]:
    with sessions.begin() as session:
        return session.scalars(select(Task).order_by(Task.created_at)).all()
