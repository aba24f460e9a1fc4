"""`quickbg watch`: pictures that appear in a folder are cut out into another one."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.core.options import ResultFormat
from app.shell.client import Client, Stopped, Tokens
from app.shell.display import Lines, say
from app.shell.errors import UsageProblem
from app.shell.removal import FEWEST, one
from app.shell.sources import Failure, Found, pictures_in
from app.shell.targets import Job, is_done, name_all

POLL = 1.0
QUIET = 1.0
"""Seconds that a picture is left alone after its last change: whoever writes it may not be done."""
PATIENCE = 5.0  # seconds of trouble with the service that nobody need be told of

Signature = tuple[int, int, int]


@dataclass
class _Seen:
    signature: Signature
    since: float
    changed: bool  # while we looked on
    taken: bool = False


class Folder:
    """What goes on in the watched folder. `at_work` is shared with those who do the work."""

    def __init__(self, inside: Path, out: Path, format_: ResultFormat | None) -> None:
        self.there = 0
        self._inside, self._out, self._format = inside, out, format_
        self._seen: dict[tuple[Path, Path], _Seen] = {}
        self._at_work: set[Path] = set()
        self._told: set[str] = set()

    def look(self, now: float) -> list[Job]:
        """The pictures that are to be done now: new or changed, and left alone since."""
        problems: set[str] = set()
        found = [
            Found(path, path.parent.relative_to(self._inside))
            for path in pictures_in(self._inside, lambda error: problems.add(_sentence(error)), self._out, True)
        ]
        for problem in sorted(problems - self._told):
            say(problem)
        self._told = problems
        before, self._seen = self._seen, {}
        jobs = name_all(found, f"{self._out}/", self._format, force=True)
        return [job for job in jobs if isinstance(job.source, Path) and self._is_due(job, job.source, before, now)]

    def done(self, job: Job) -> None:
        """Its result is there, or will not be; the next change of the picture counts again."""
        if isinstance(job.source, Path):
            self._at_work.discard(job.source)

    def _is_due(self, job: Job, source: Path, before: Mapping[tuple[Path, Path], _Seen], now: float) -> bool:
        try:
            stat = source.stat()
            signature = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            seen = before.get((source, job.target))
            if seen is None or seen.signature != signature:
                seen = _Seen(signature, now, changed=seen is not None)
            self._seen[source, job.target] = seen
            # Of two at a time the older one's result might come last.
            if seen.taken or now - seen.since < QUIET or source in self._at_work:
                return False
            seen.taken = True
            # A result that came while the picture changed is younger, and yet not of this picture.
            is_there = not seen.changed and is_done(job)
        except OSError:  # gone since
            return False
        if is_there:
            self.there += 1
        else:
            self._at_work.add(source)
        return not is_there


class Trouble:
    """Tells of a service that is away, once, and of its return."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._since: float | None = None
        self._told = False

    def __call__(self, reason: str | None) -> None:
        with self._lock:
            if reason is None:
                if self._told:
                    say("The service takes pictures again.")
                self._since, self._told = None, False
                return
            now = self._clock()
            self._since = now if self._since is None else self._since
            if not self._told and now - self._since >= PATIENCE:
                say(f"{reason.rstrip('.')}; trying on.")
                self._told = True


@dataclass
class Tally:
    done: int = 0
    failed: int = 0


class Watcher:
    """Does what a folder has to be done, until it is stopped."""

    def __init__(self, client: Client, folder: Folder, options: Mapping[str, str]) -> None:
        self.tally = Tally()
        self._client, self._folder, self._options, self._stop = client, folder, options, client.stop
        self._lock = threading.Lock()
        self._refusal: UsageProblem | None = None

    def run(self, at_once: int) -> None:
        """Returns when it is stopped.

        Raises:
            UsageProblem: the service refuses the options.
        """
        pool = ThreadPoolExecutor(at_once)
        try:
            while not self._stop.is_set():
                for job in self._folder.look(time.monotonic()):
                    pool.submit(self._do, job)
                self._stop.wait(POLL)
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)
        if self._refusal is not None:
            raise self._refusal

    def stop(self) -> None:
        self._stop.set()

    def _do(self, job: Job) -> None:
        try:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            self._count(job, one(self._client, job, self._options, Lines()))
        except OSError as error:
            self._count(job, Failure(job.source, f"{job.target.parent}: {error.strerror}"))
        except UsageProblem as problem:
            self._refusal = problem
            self._stop.set()
        except Stopped:
            pass
        finally:
            self._folder.done(job)

    def _count(self, job: Job, failure: Failure | None) -> None:
        if failure is not None and isinstance(job.source, Path) and not job.source.exists():
            return  # taken away before its turn came
        with self._lock:
            self.tally.done += failure is None
            self.tally.failed += failure is not None
        if failure is not None:
            say(str(failure))


def check(inside: Path, out: Path) -> None:
    """Raises `UsageProblem` for folders that cannot be watched so."""
    if not inside.is_dir():
        raise UsageProblem(f"{inside} is no folder.")
    if out.exists() and not out.is_dir():
        raise UsageProblem(f"{out} is no folder.")
    if inside.resolve() == out.resolve():
        raise UsageProblem("The results need a folder of their own; it may lie in the watched one.")


def watch(address: str, tokens: Tokens, folder: Folder, options: Mapping[str, str], at_once: int = FEWEST) -> Tally:
    """Go on until Ctrl-C, however often the service goes and comes.

    Raises:
        UsageProblem: the service refuses the options.
    """
    client = Client(address, tokens, patience=math.inf, on_trouble=Trouble())
    watcher = Watcher(client, folder, options)
    try:
        watcher.run(at_once)
    except KeyboardInterrupt:
        pass
    finally:
        client.close()
    return watcher.tally


def _sentence(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}"
