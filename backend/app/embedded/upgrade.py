"""The data of an earlier major version of Postgres, brought up to the one that we run.

Postgres refuses to start on the data of another major version. Its `pg_upgrade` copies the data into a new cluster,
for which it needs the programs of both versions. The old data stays as it was, under another name.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from app.embedded import clusters
from app.embedded.clusters import MAJOR, USER
from app.embedded.layout import EmbeddedError, Layout
from app.embedded.privileges import Identity

_NEWER = "The data in {data} is of Postgres {found} and this version of QuickBG runs {ours}: go on with the newer one."
_UNKNOWN = (
    "The data in {data} is of Postgres {found}, which this version of QuickBG cannot bring to {ours}: make a backup"
    " (quickbg backup) with the version that you had, and restore it with this one into an empty --data."
)


def pending(layout: Layout) -> str | None:
    """The major version that the data is of, when that is not ours."""
    try:
        found = (layout.postgres / "PG_VERSION").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):  # no data yet; or it is damaged, which Postgres itself will say
        return None
    return None if found == MAJOR else found


def announcement(layout: Layout) -> str | None:
    """What the upgrade does, in a few words, when there is to be one: it may take minutes."""
    found = pending(layout)
    return f"Upgrading Postgres {found} to {MAJOR} (old data: postgres.old-{found})" if found else None


def upgrade(layout: Layout, password: str, identity: Identity) -> None:
    """Bring the data to our version, or leave it as it is when it is. Nothing runs on it.

    Raises:
        EmbeddedError: it cannot be done, and what to do.
    """
    _finish(layout)
    found = pending(layout)
    if found is None:
        return
    old = clusters.programs_of(found)
    if old is None:
        sentence = _NEWER if found.isdigit() and int(found) > int(MAJOR) else _UNKNOWN
        raise EmbeddedError(sentence.format(data=layout.data, found=found, ours=MAJOR))
    if _kept(layout, found).exists():
        raise EmbeddedError(f"{_kept(layout, found)} is in the way of an upgrade of Postgres: move it elsewhere.")
    # An empty single-user session ends the recovery of a cluster that was killed: pg_upgrade wants it shut down.
    clusters.must([*identity.prefix, str(old / "postgres"), "--single", "-D", str(layout.postgres), "postgres"])
    has_checksums = _has_checksums(layout.postgres, old, identity)
    draft = clusters.make(layout, password, identity, () if has_checksums else ("--no-data-checksums",))
    _copy(layout.postgres, old, draft, password, identity)
    if not has_checksums:  # every cluster of ours has them
        clusters.must([*identity.prefix, str(clusters.program("pg_checksums")), "--enable", "-D", str(draft)])
    draft.rename(_upgraded(layout))
    _finish(layout)


def _has_checksums(cluster: Path, programs: Path, identity: Identity) -> bool:
    """Both clusters must have them, or none."""
    said = clusters.run([*identity.prefix, str(programs / "pg_controldata"), "-D", str(cluster)]).stdout
    line = next(line for line in said.splitlines() if line.startswith("Data page checksum version"))
    return line.split()[-1] != "0"


def _copy(source: Path, old: Path, target: Path, password: str, identity: Identity) -> None:
    """It works in a folder of its own with a short name: its sockets lie there, whose names have a limit."""
    with TemporaryDirectory(prefix="quickbg-") as folder:
        identity.own(Path(folder))
        command = (
            *(str(clusters.program("pg_upgrade")), "--copy", "-U", USER),
            *("-b", str(old), "-B", str(clusters.program("postgres").parent), "-d", str(source), "-D", str(target)),
        )
        done = clusters.run([*identity.prefix, *command], cwd=folder, PGPASSWORD=password)
    if done.returncode:
        why, more = _complaint(done.stdout + done.stderr), target / "pg_upgrade_output.d"
        raise EmbeddedError(f"Postgres could not be upgraded: {why} (more in {more}); the data is as it was.")


def _complaint(said: str) -> str:
    """What follows the last check that went well; the lines at the very end only say that it was in vain."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    good = [number for number, line in enumerate(lines, 1) if line.endswith(" ok") or not line.strip("-")]
    return next(iter(lines[max(good, default=0) :]), "no reason given")


def _finish(layout: Layout) -> None:
    """Put the upgraded data into its place: the last step, that a kill may have cut in two."""
    upgraded = _upgraded(layout)
    if not upgraded.exists():
        return
    found = pending(layout)
    if found is not None:
        layout.postgres.rename(_kept(layout, found))
    upgraded.rename(layout.postgres)


def _upgraded(layout: Layout) -> Path:
    return layout.data / "postgres.upgraded"


def _kept(layout: Layout, major: str) -> Path:
    return layout.data / f"postgres.old-{major}"
