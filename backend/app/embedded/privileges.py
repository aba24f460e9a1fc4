"""Postgres refuses to run as root: started by root, it runs as `nobody`, who may not even see our folders.

Nothing is changed on the machine for that: no user is added and no folder of others opened. `nobody` gets the one
capability that lets him pass (DAC_READ_SEARCH, else DAC_OVERRIDE), and only where he cannot pass without it.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.embedded.layout import EmbeddedError
from app.embedded.service import plain_environment

_NO_SETPRIV = "As root, Postgres needs the command setpriv (package util-linux); or start this as an ordinary user."
_NO_WAY = "Postgres, running as {user}, cannot reach {data}: choose a --data that every user may enter."


@dataclass(frozen=True)
class Identity:
    """Whom Postgres runs as: the prefix of its commands, and who owns its files (None: us)."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        """Hand a file or folder of ours over."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def move(self, folder: Path, target: Path) -> None:
        """Move a folder that was handed over: even root may need to own what he moves to another folder."""
        if self.uid is not None:
            os.chown(folder, os.geteuid(), os.getegid())
        folder.rename(target)
        self.own(target)

    def admit(self, folder: Path) -> None:
        """Let this user, and nobody else, pass through a folder of ours that he cannot list."""
        if self.gid is not None:
            os.chown(folder, -1, self.gid)
            folder.chmod(0o710)


def remove(folder: Path) -> None:
    """Delete a folder with all that is in it, whomever that was handed to; one that is not there is fine."""
    if not folder.exists():
        return
    if os.geteuid() == 0:  # root, too, may lack the right to look into folders of others
        os.chown(folder, 0, 0)
        for parent, names, _ in os.walk(folder):
            for name in names:
                os.chown(Path(parent) / name, 0, 0, follow_symlinks=False)
    shutil.rmtree(folder)


@cache
def postgres_identity(data: Path, program: Path) -> Identity:
    """The least privilege with which `program` really starts and `data` can be entered; `data` exists.

    Raises:
        EmbeddedError: we are root, and there is no way.
    """
    if os.geteuid() != 0:
        return Identity()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedError(_NO_SETPRIV)
    user = pwd.getpwnam("nobody")
    drop = (setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    for capability in (None, "dac_read_search", "dac_override"):
        identity = Identity((*drop, *_keeping(capability)), user.pw_uid, user.pw_gid)
        identity.admit(data)
        if _works(identity, data, program):
            return identity
    raise EmbeddedError(_NO_WAY.format(user=user.pw_name, data=data))


def _keeping(capability: str | None) -> tuple[str, ...]:
    if capability is None:
        return ()
    # Without no_setuid_fixup the access(2) calls of Postgres would leave the capability out of account.
    return (
        f"--inh-caps=+{capability}",
        f"--ambient-caps=+{capability}",
        "--securebits=+no_setuid_fixup",
    )


def _works(identity: Identity, data: Path, program: Path) -> bool:
    """Try it: the program with its shared libraries, and the way into the folder."""
    script = '"$1" --version && cd "$2"'
    tried = subprocess.run(  # noqa: S603 - our own command
        [*identity.prefix, "/bin/sh", "-c", script, "sh", str(program), str(data)],
        env=plain_environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0
