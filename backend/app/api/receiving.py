"""A request's body on its way in: with a deadline, a least speed, and room for so much of all bodies together."""

import asyncio
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from math import inf

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from app.services.limits import subscriber

GRACE = 10.0  # seconds of the least speed that a sender may be behind
PATIENCE = 20.0  # seconds that a body waits for its room, unread
UNTOLD = 8  # bodies of an account that do not tell their lengths, at a time


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
        self._free, self.share = size, share
        self._taken = Counter[str]()
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}  # by account, in their order

    def take(self, who: str, size: int) -> bool:
        """False: there is not so much left."""
        if size > self._free or self._taken[who] + size > self.share:
            return False
        self._free -= size
        self._taken[who] += size
        return True

    async def wait(self, who: str, size: int, patience: float) -> bool:
        """Take it once there is so much left, after those of the same account that came before. False: there was not in
        so many seconds, or never is."""
        if size > self.share:
            return False
        queue = self._waiting.setdefault(who, deque())
        turn = asyncio.get_running_loop().create_future()
        queue.append((size, turn))
        self._hand_out()
        try:
            async with asyncio.timeout(patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give_back(who, size)
            else:
                with suppress(ValueError):  # passed over already
                    queue.remove((size, turn))
                self._hand_out()  # who stood behind may want less
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def give_back(self, who: str, size: int) -> None:
        self._free += size
        self._taken[who] -= size
        if self._taken[who] <= 0:
            del self._taken[who]
        self._hand_out()

    def _hand_out(self) -> None:
        for who, queue in list(self._waiting.items()):
            while queue and (queue[0][1].done() or self.take(who, queue[0][0])):
                _, turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
            if not queue:
                del self._waiting[who]


class Receiving:
    """Stands in for `receive`. Whoever reads on after a refusal is told that the client has gone.

    The body of a known account has all of its room before it is read: many that come at once wait for each other, and
    none stops half-way for want of room. A stranger has what he has sent: he could hold it all with a promise.
    """

    def __init__(self, scope: Scope, receive: Receive, pace: Pace, room: Room) -> None:
        self._scope, self._receive, self._pace, self._room = scope, receive, pace, room
        self._who = ""
        self._let_in = False
        self._begun: float | None = None
        self._patience = pace.at_first
        self._received = 0
        self._taken = 0  # bytes of the room; as many as came, at least
        self._complete = False
        self.refusal: Refusal | None = None

    async def __call__(self) -> Message:
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        if self._complete:  # what comes now is the end of the connection, in its own time
            return await self._receive()
        if not self._let_in and not await self._is_let_in():
            self.refusal = FULL
            return {"type": "http.disconnect"}
        message = await self._in_time()
        if message is None:
            self.refusal = self._pace.refusal
        elif not self._keep(message):
            self.refusal = FULL
        return message if message is not None and self.refusal is None else {"type": "http.disconnect"}

    async def _is_let_in(self) -> bool:
        client = self._scope.get("client") or ("", 0)
        account = self._scope["state"].get("account")
        self._who = subscriber(client[0]) if account is None else str(account)
        size = 0 if account is None else self._size()
        if size and not await self._room.wait(self._who, size, PATIENCE):
            return False
        self._taken, self._let_in = size, True
        return True

    def _size(self) -> int:
        """Bytes that the body will have; one that does not tell is taken for one of the larger ones."""
        headers = Headers(scope=self._scope)
        told = headers.get("content-length", "")
        if told.isdecimal() and told.isascii():
            return int(told) if int(told) <= self._room.share else 0  # which is larger than any address takes
        return self._room.share // UNTOLD if "transfer-encoding" in headers else 0

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
        more = max(0, self._received + size - self._taken)
        if not self._room.take(self._who, more):
            return False
        self._taken += more
        self._received += size
        if self._complete:  # it may have been taken for larger
            self._room.give_back(self._who, self._taken - self._received)
            self._taken = self._received
        return True

    def end(self) -> None:
        """What was sent is gone, whether the request is over or only waits for its answer."""
        self._room.give_back(self._who, self._taken)
        self._taken = self._received = 0
