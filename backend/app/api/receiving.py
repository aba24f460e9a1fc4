"""A request's body on its way in: with a deadline, a least speed, and room for so much of all bodies together."""

import asyncio
from dataclasses import dataclass

from starlette.types import Message, Receive

GRACE = 5.0  # seconds before the speed counts


@dataclass(frozen=True)
class Refusal:
    """Why a body is not read to its end."""

    status: int
    code: str
    sentence: str


FULL = Refusal(503, "busy", "Too many uploads are under way at the moment. Please try again.")


@dataclass(frozen=True)
class Pace:
    """How fast a body has to come."""

    deadline: float  # seconds
    least: int  # bytes a second; 0: any speed

    def until(self, received: int) -> float:
        """For how many seconds from the beginning on one who has sent so much is waited for."""
        return min(self.deadline, max(GRACE, received / self.least)) if self.least else self.deadline

    @property
    def refusal(self) -> Refusal:
        speed = f", at {self.least} bytes a second or faster" if self.least else ""
        sentence = f"The request came too slowly: it has to be sent within {self.deadline:g} seconds{speed}."
        return Refusal(408, "upload_too_slow", sentence)


class Room:
    """What the bodies of all requests of this process may take together, in memory and in the folder for files."""

    def __init__(self, size: int) -> None:
        self._free = size

    def take(self, size: int) -> bool:
        """False: there is not so much left."""
        if size > self._free:
            return False
        self._free -= size
        return True

    def give_back(self, size: int) -> None:
        self._free += size


class Receiving:
    """Stands in for `receive`. Whoever reads on after a refusal is told that the client has gone."""

    def __init__(self, receive: Receive, pace: Pace, room: Room) -> None:
        self._receive, self._pace, self._room = receive, pace, room
        self._begun: float | None = None
        self._received = 0
        self._complete = False
        self.refusal: Refusal | None = None

    async def __call__(self) -> Message:
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        if self._complete:  # what comes now is the end of the connection, in its own time
            return await self._receive()
        message = await self._in_time()
        if message is None:
            self.refusal = self._pace.refusal
        elif not self._keep(message):
            self.refusal = FULL
        return message if message is not None and self.refusal is None else {"type": "http.disconnect"}

    async def _in_time(self) -> Message | None:
        now = asyncio.get_running_loop().time()
        self._begun = now if self._begun is None else self._begun
        try:
            async with asyncio.timeout_at(self._begun + self._pace.until(self._received)):
                return await self._receive()
        except TimeoutError:
            return None

    def _keep(self, message: Message) -> bool:
        size = len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if not self._room.take(size):
            return False
        self._received += size
        return True

    def end(self) -> None:
        """The request is over, and what it has sent is gone."""
        self._room.give_back(self._received)
        self._received = 0
