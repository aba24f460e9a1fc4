"""Where everything lies in a data folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import AppError

# The same folder as `core.config.PROJECT_ROOT`; importing that would load pydantic before each small launcher.
PROJECT_ROOT = Path(__file__).resolve().parents[3]
DEFAULT_DATA = PROJECT_ROOT / "var"


# What the start of a data folder makes before there is a state file.
_OUR_NAMES = {"postgres", "valkey", "s3", "run", "logs", "models", "restoring"}


class EmbeddedError(AppError):
    """The embedded services cannot do what was asked; the message is one sentence for the person at the shell."""

    code = "embedded_error"


@dataclass(frozen=True)
class Layout:
    """The paths below one data folder; two folders never share anything."""

    data: Path

    @classmethod
    def at(cls, data: Path) -> "Layout":
        """The layout of `data`, wherever the caller stands."""
        return cls(data.expanduser().absolute())

    @property
    def is_default(self) -> bool:
        return self.data.resolve() == DEFAULT_DATA

    @property
    def state(self) -> Path:
        return self.data / "state.json"

    @property
    def postgres(self) -> Path:
        return self.data / "postgres"

    @property
    def valkey(self) -> Path:
        return self.data / "valkey"

    @property
    def s3(self) -> Path:
        return self.data / "s3"

    @property
    def restoring(self) -> Path:
        """A backup that is being put back, until it is whole; see `shell.restore`."""
        return self.data / "restoring"

    @property
    def run(self) -> Path:
        """Locks and the supervisor's configuration: nothing here outlives its use."""
        return self.data / "run"

    @property
    def logs(self) -> Path:
        return PROJECT_ROOT / "logs" if self.is_default else self.data / "logs"

    def _is_ours(self) -> bool:
        """Whether nothing lies there but what we have made; its permissions are ours to change then."""
        if self.state.exists() or (self.restoring / self.state.name).exists():
            return True
        return {path.name for path in self.data.iterdir()} <= _OUR_NAMES

    def make(self) -> None:
        """Create the folders, private to this user.

        Raises:
            EmbeddedError: the place cannot be written, or belongs to somebody else.
        """
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            if self.data.stat().st_uid != os.geteuid():
                raise EmbeddedError(f"The data folder {self.data} belongs to another user: choose --data.")
            if not self.is_default and not self._is_ours():
                raise EmbeddedError(f"{self.data} holds other things already: choose a --data folder for this alone.")
            if self.data.stat().st_mode & 0o027:  # not 0o077: see `privileges.Identity.admit`
                self.data.chmod(0o700)
            for folder in (self.valkey, self.s3, self.run, self.s3 / "tmp"):
                folder.mkdir(mode=0o700, exist_ok=True)
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedError(f"Cannot use {self.data} as the data folder: {error.strerror}.") from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
