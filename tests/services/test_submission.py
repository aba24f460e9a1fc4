"""What the door says of each picture in the log."""

import hashlib
import io
from contextlib import suppress

import pytest
from structlog import PrintLogger, wrap_logger
from structlog.testing import LogCapture

from app.core.config import Settings
from app.core.errors import RejectedImage
from app.db.base import Sessions
from app.db.models import User
from app.services import judging
from app.services.backlog import Backlog
from app.services.orders import Order
from app.services.submission import Submissions
from app.storage.memory import MemoryStore
from tests.factories import TIMING, Silence, make_limits
from tests.pictures import encoded

PICTURE = encoded()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    """A log of this test's own, whatever other tests have set up for the whole process."""
    capture = LogCapture()
    monkeypatch.setattr(judging, "log", wrap_logger(PrintLogger(), processors=[capture]))
    return capture


@pytest.mark.parametrize(
    ("data", "format_", "decision"),
    [
        (PICTURE, "JPEG", "accepted"),
        (PICTURE[:30], "JPEG", "image_truncated"),
        (b"GIF89a", "GIF", "unsupported_format"),
        (b"what is this", "unknown", "unsupported_format"),
        (b"", "unknown", "file_empty"),
    ],
)
def test_every_picture_leaves_a_line(
    settings: Settings, sessions: Sessions, user: User, log: LogCapture, data: bytes, format_: str, decision: str
) -> None:
    backlog = Backlog(sessions, TIMING, 3600)
    submissions = Submissions(settings, sessions, MemoryStore(), Silence(), backlog, make_limits(settings))

    with suppress(RejectedImage):
        submissions.submit(io.BytesIO(data), user=user, filename="a.jpg", order=Order())

    (line,) = (line for line in log.entries if line["event"] == "image_judged")
    assert line["sha256"] == hashlib.sha256(data).hexdigest()
    assert (line["format"], line["size_bytes"], line["decision"]) == (format_, len(data), decision)
    assert ("width" in line) == (decision == "accepted")
