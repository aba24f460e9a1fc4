"""The sweeper process delivers webhooks, and may be killed in the midst of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.core.config import PROJECT_ROOT
from app.db.base import Sessions
from app.db.models import User
from app.embedded.service import dies_with_parent
from tests.embedded_services import wait_for
from tests.outbound.sites import saying, site
from tests.webhooks.messages import OK, PAYLOAD, delivery, make_delivery, make_due, received, secret_of, tries


@contextmanager
def sweeper(environment: dict[str, str], log: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    open_to = {"OUTBOUND_ALLOWED_NETWORKS": "127.0.0.0/8", "CLEANUP_ENABLED": "false"}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*dies_with_parent(), sys.executable, "-m", "app.tasks.sweeper"],
            env=os.environ | environment | open_to | more,
            cwd=PROJECT_ROOT / "backend",
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_one_that_is_killed_while_delivering_has_another_send_the_same_again(
    environment: dict[str, str], sessions: Sessions, user: User, tmp_path: Path
) -> None:
    log = tmp_path / "sweeper.log"
    secret = secret_of(sessions, user.id)
    with site(saying(OK)) as there:
        made = make_delivery(sessions, user.id, f"{there.url}?token=in-the-url")
        with sweeper(environment, log, FAILPOINTS="webhook_answered=kill") as first:
            assert first.wait(timeout=30) == -signal.SIGKILL, log.read_text()
        assert (delivery(sessions, made).status, tries(sessions, made)) == ("pending", [])
        make_due(sessions, made)  # its lease has run out
        with sweeper(environment, log) as second:
            wait_for(lambda: delivery(sessions, made).status == "delivered", "it is delivered", seconds=30)
        assert second.returncode == 0
    messages = received(there)
    assert [message.id for message in messages] == [made, made]
    assert [message.verified(secret) for message in messages] == [PAYLOAD, PAYLOAD]
    assert len({message.body for message in messages}) == 1
    assert delivery(sessions, made).attempts == 2
    said = log.read_text()
    assert "webhook_tried" in said
    for hidden in (secret, secret.removeprefix("whsec_"), "in-the-url", messages[0].headers["webhook-signature"][3:]):
        assert hidden not in said
