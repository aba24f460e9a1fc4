"""A courier on the real database."""

import pytest

from app.core.config import Settings
from app.db.base import Sessions
from app.services.counting import Counts
from tests.webhooks.messages import Courier


@pytest.fixture
def courier(settings: Settings, sessions: Sessions) -> Courier:
    return Courier(settings, sessions, Counts())
