"""A request's body on its way in: with a deadline, a least speed, and room for so much of all bodies together."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from math import inf

from starlette.types import Message, Receive, Scope

GRACE = 10.0  # seconds of the least speed that a sender may be behind


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

    @property
    def at_first(self) -> float:
        """Seconds that are waited for the first piece."""
        return GRACE if self.least else inf

    def then(self, patience: float, waited: float, came: int) -> float:
        """Seconds for the next one, after one of so many bytes. Nobody sends ahead of himself for longer than that:
        what was fast once may not stand still for it."""
        return min(GRACE, patience - waited + came / self.least) if self.least else inf

    @property
    def refusal(self) -> Refusal:
        speed = f", at {self.least} bytes a second or faster" if self.least else ""
        sentence = f"The request came too slowly: it has to be sent within {self.deadline:g} seconds{speed}."
        return Refusal(408, "upload_too_slow", sentence)


class Room:
    """What the bodies of all requests of this process may take together, in memory and in the folder for files, and
    what those of one account may."""

    def __init__(self, size: int, share: int) -> None:
        self._free, self._share = size, share
        self._taken = Counter[str]()

    def take(self, who: str, size: int) -> bool:
        """False: there is not so much left."""
        if size > self._free or self._taken[who] + size > self._share:
            return False
        self._free -= size
        self._taken[who] += size
        return True

    def give_back(self, who: str, size: int) -> None:
        self._free += size
        self._taken[who] -= size
        if self._taken[who] <= 0:
            del self._taken[who]


class Receiving:
    """Stands in for `receive`. Whoever reads on after a refusal is told that the client has gone."""

    def __init__(self, scope: Scope, receive: Receive, pace: Pace, room: Room) -> None:
        self._scope, self._receive, self._pace, self._room = scope, receive, pace, room
        self._who: str | None = None
        self._begun: float | None = None
        self._patience = pace.at_first
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
        clock = asyncio.get_running_loop().time
        now = clock()
        self._begun = now if self._begun is None else self._begun
        try:
            async with asyncio.timeout_at(min(self._begun + self._pace.deadline, now + self._patience)):
                message = await self._receive()
        except TimeoutError:
            return None
        self._patience = self._pace.then(self._patience, clock() - now, len(message.get("body", b"")))
        return message

    def _keep(self, message: Message) -> bool:
        size = len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._who is None:
            client = self._scope.get("client") or ("", 0)
            self._who = str(self._scope["state"].get("account", client[0]))
        if not self._room.take(self._who, size):
            return False
        self._received += size
        return True

    def end(self) -> None:
        """The request is over, and what it has sent is gone."""
        if self._who is not None:
            self._room.give_back(self._who, self._received)
        self._received = 0
