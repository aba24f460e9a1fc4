"""After a full disk the object store is started anew, once, and not before there is room."""

import pytest

from app.embedded.room import ENOUGH, LITTLE, Room


@pytest.mark.parametrize(
    ("free", "restarts"),
    [
        ([ENOUGH * 2, LITTLE * 2, ENOUGH * 2], 0),
        ([LITTLE - 1, LITTLE * 2, ENOUGH], 0),
        ([LITTLE - 1, 0, LITTLE * 2, ENOUGH + 1, ENOUGH * 2], 1),
        ([0, ENOUGH * 2, 0, ENOUGH * 2], 2),
    ],
)
def test_it_is_started_anew_once_there_is_room_again(free: list[int], restarts: int) -> None:
    left, done = list(free), list[int]()
    room = Room(lambda: left.pop(0), lambda: done.append(1))
    for _ in free:
        room.look()
    assert len(done) == restarts


def test_a_restart_that_fails_is_tried_again() -> None:
    tries = list[int]()

    def restart() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no")

    room = Room(lambda: ENOUGH * 2, restart, was_full=True)
    with pytest.raises(OSError, match="no"):
        room.look()
    room.look()
    room.look()
    assert len(tries) == 2
