"""A program that is measured, in a process of its own: it takes questions and answers, one JSON object a line each.

Both sides load what they need once, as a server does, and neither sees the other's libraries or settings. Only the
standard library is used here, because rembg's side has an environment of its own.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0  # seconds for one answer


class BenchProblem(Exception):
    """The bench cannot go on; the message is one sentence for the person at the shell."""


class Side:
    """The caller's end of it. Use it as a context; `ready` is what the program says of itself at first."""

    def __init__(self, python: Path, module: str, environment: Mapping[str, str], errors: IO[bytes]) -> None:
        """`errors`: a file for what the program writes to standard error."""
        self._module, self._errors = module, errors
        self._process = subprocess.Popen(  # noqa: S603 - our own words
            [str(python), "-P", "-m", module],
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            self.ready = self._answer()
        except BaseException:
            self._process.kill()
            self.__exit__()
            raise

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None  # noqa: S101 - pipes were asked for
        assert self._process.stdout is not None  # noqa: S101
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # the program ends with its questions
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def ask(self, **question: str) -> dict[str, Any]:
        """One question, one answer.

        Raises:
            BenchProblem: the program has an error to tell, or has died, or takes too long.
        """
        assert self._process.stdin is not None  # noqa: S101 - as above
        with suppress(BrokenPipeError):  # it has died; its answer will say so
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - as above
        alarm = threading.Timer(PATIENCE, self._process.kill)
        alarm.start()
        line = self._process.stdout.readline()
        alarm.cancel()
        if not line:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise BenchProblem(f"{self._module} has ended: {said[0]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchProblem(answer["error"])
        return answer


def serve(ready: Mapping[str, object], answer: Callable[[dict[str, str]], Mapping[str, object]]) -> None:
    """The program's end of it: answers until there are no more questions. A ValueError is told and not fatal."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer

    def tell(reply: Mapping[str, object]) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    tell(ready)
    for line in sys.stdin:
        try:
            tell(answer(json.loads(line)))
        except ValueError as error:
            tell({"error": str(error)})
