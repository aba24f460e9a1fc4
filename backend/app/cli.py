"""The `quickbg` command: start and stop everything on this machine, and cut out pictures.

What a command needs beyond the terminal's own libraries is imported inside it, so that each starts fast.
"""

# ruff: noqa: PLC0415 - see above
import errno
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.errors import AppError, InvalidRequest
from app.embedded.layout import DEFAULT_DATA, PROJECT_ROOT, Layout
from app.embedded.programs import APPLICATION, SERVICES
from app.shell.errors import SettingsProblem, UsageProblem

if TYPE_CHECKING:
    from app.embedded.control import Stack
    from app.embedded.state import State
    from app.shell.client import Tokens

NAMES = (*SERVICES, *APPLICATION)
NOT_RUNNING = 3
EXIT_CODES = {UsageProblem: 2, InvalidRequest: 2, SettingsProblem: 78}  # 78: EX_CONFIG of sysexits.h
TOKEN_SECONDS = 900

app = typer.Typer(
    help="Background removal on this machine.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Data = Annotated[Path, typer.Option("--data", help="Folder of the data.", show_default="var", readable=False)]

# The options of a removal. What is not named is not sent: the service, or a recipe, says what it means then.
Text = str | None
Format = Annotated[
    Text, typer.Option("--format", help="png, webp, jpg (with --background), zip or auto. [by -o, or png]")
]
Background = Annotated[Text, typer.Option(help="A colour such as white or #fff, a gradient, blur(2%), or a picture.")]
Quality = Annotated[Text, typer.Option(help="balanced, or best (slower, finer edges).")]
Operation = Annotated[Text, typer.Option(help="What is made of it, such as mask. [remove-background]")]
Refine = Annotated[bool | None, typer.Option("--refine/--no-refine", help="Refine the edges. [refine]")]
Trim = Annotated[bool | None, typer.Option("--trim/--no-trim", help="Cut down to the subject. [trim]")]
Padding = Annotated[Text, typer.Option(help="What is kept around it, such as 5% or 20. [10px]")]
Size = Annotated[Text, typer.Option(help="Of the result, such as 2000x2000 or 4:5. [original]")]
Scale = Annotated[Text, typer.Option(help="How much of it the subject fills, such as 80%.")]
Position = Annotated[Text, typer.Option(help="Where the subject is, such as center or '50% 90%'.")]
Shadow = Annotated[Text, typer.Option(help="none, or drop.")]
Recipe = Annotated[Text, typer.Option(help="Options kept under a name; named ones go before them.")]
More = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Any other option of the API.")]
Jobs = Annotated[int | None, typer.Option(min=1, max=100, help="Pictures at once. [as suits the service]")]
SWITCHES = (
    *("format", "background", "quality", "operation", "refine", "trim", "padding"),
    *("size", "scale", "position", "shadow", "recipe"),
)


@app.command()
def up(
    port: Annotated[int | None, typer.Option(help="Port of the API.", min=1, max=65535, show_default="8000")] = None,
    data: Data = DEFAULT_DATA,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready, and leave it running.")] = False,
) -> None:
    """Start everything and keep it running; Ctrl-C stops it."""
    from app.shell.display import say
    from app.shell.serving import bring_up

    layout = Layout.at(data)
    _stop_on_signals()
    stack, seconds = bring_up(layout, port=port, detach=detach)
    if seconds is None:
        typer.echo(f"QuickBG is already running: {stack.address}")
        if port not in {None, stack.state.api_port}:
            raise AppError(f"It keeps its port: stop it ({_command(layout, 'down')}) before you choose another.")
        return
    try:
        _announce(stack, seconds, detach=detach)
        if not detach and stack.process is not None:
            if stack.process.wait():
                raise AppError("The supervisor has died, and took everything with it. Nothing is lost: start it again.")
            say("QuickBG has been stopped.")
    except KeyboardInterrupt:
        say("Stopping ...")
        stack.stop()


def _announce(stack: "Stack", seconds: float, *, detach: bool) -> None:
    typer.echo(f"QuickBG is ready after {seconds:.1f} s: {stack.address}/api/v1/docs")
    typer.echo(f"\n  {_curl(stack)}\n")
    typer.echo(f"Stop it with {_command(stack.layout, 'down') if detach else 'Ctrl-C'}.")


@app.command()
def down(data: Data = DEFAULT_DATA) -> None:
    """Stop what runs on the data folder."""
    from app.shell.serving import take_down

    typer.echo("QuickBG has been stopped." if take_down(Layout.at(data)) else "QuickBG is not running.")


@app.command()
def status(data: Data = DEFAULT_DATA) -> None:
    """Show the processes and their health. Exit code 0: healthy, 1: not healthy, 3: not running."""
    from app.embedded.control import find
    from app.shell.status import show

    stack = find(Layout.at(data))
    if stack is None:
        typer.echo("QuickBG is not running.")
        raise typer.Exit(NOT_RUNNING)
    if not show(stack):
        raise typer.Exit(1)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="One process; all of them otherwise.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.", min=0)] = 20,
    data: Data = DEFAULT_DATA,
) -> None:
    """Show what the processes have written."""
    from app.shell.logs import read

    names = [_known(name)] if name else list(NAMES)
    try:
        for line in read(Layout.at(data).logs, names, lines=lines, follow=follow):
            typer.echo(line)
    except KeyboardInterrupt:  # the way out of --follow
        pass


@app.command()
def restart(
    name: Annotated[str, typer.Argument(help="api, worker, sweeper, postgres, valkey or seaweedfs.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Stop one process in its own way, start it again, and wait until it does its work."""
    from app.shell.serving import restart as restart_one

    _stop_on_signals()
    if not restart_one(Layout.at(data), _known(name)):
        typer.echo("QuickBG is not running.")
        raise typer.Exit(NOT_RUNNING)
    typer.echo(f"{name} has been restarted.")


def _known(name: str) -> str:
    if name not in NAMES:
        raise UsageProblem(f"There is no process {name}: choose one of {', '.join(NAMES)}.")
    return name


@app.command()
def doctor(data: Data = DEFAULT_DATA) -> None:
    """Look for what is missing or odd, and say how to mend it. Exit code 1: something will not work."""
    from app.shell.doctor import examine

    findings = []
    for finding in examine(Layout.at(data)):
        findings.append(finding)
        typer.echo(f"{finding.level:<6} {finding.what}")
        if finding.mend:
            typer.echo(f"       → {finding.mend}")
    if any(finding.level == "fault" for finding in findings):
        raise typer.Exit(1)


@app.command()
def token(data: Data = DEFAULT_DATA) -> None:
    """Print an access token for this machine's own user, good for 15 minutes."""
    from app.embedded.state import load

    layout = Layout.at(data)
    state = load(layout)
    if state is None:
        raise AppError(f"Nothing has been started on {layout.data} yet: {_command(layout, 'up')}")
    typer.echo(_mint(state))


@app.command()
def remove(
    context: typer.Context,
    pictures: Annotated[list[str], typer.Argument(help="Files, folders, patterns, URLs, or - for standard input.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The file to write, a folder (ending in /), or -.")
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Subfolders, too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    jobs: Jobs = None,
    format_: Format = None,
    background: Background = None,
    quality: Quality = None,
    operation: Operation = None,
    refine: Refine = None,
    trim: Trim = None,
    padding: Padding = None,
    size: Size = None,
    scale: Scale = None,
    position: Position = None,
    shadow: Shadow = None,
    recipe: Recipe = None,
    option: More = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Cut pictures out; each result lies beside its picture as NAME-cutout.png, or what its format is.

    What is there already and younger than its picture is left alone: the same call goes on after an interruption.
    """
    from app.shell.client import Client
    from app.shell.display import say, summary, watching
    from app.shell.fields import read
    from app.shell.piping import check, plain, streams
    from app.shell.removal import remove as remove_all
    from app.shell.serving import borrowed
    from app.shell.sources import expand
    from app.shell.targets import plan

    asked = read(_typed(context), option or [], plain(output))
    check(pictures, output)
    _stop_on_signals()
    with streams(pictures, output) as ends:
        found, failures = expand(ends.pictures, recursive=recursive, leave_out=ends.output)
        planned = plan(found, ends.output, asked.format, force=force)
        failures += planned.failures
        done = len(planned.jobs)
        if done:
            with borrowed(Layout.at(data)) as stack, watching(done, quiet=ends.is_stream) as seen:
                client = Client(stack.address, _tokens(stack))
                failed = remove_all(client, planned.jobs, asked.fields, seen, jobs or _fitting(stack))
            failures, done = failures + failed, done - len(failed)
        for failure in failures:
            say(ends.told(failure))
        summary(done, planned.there, len(failures))
        if failures:
            raise typer.Exit(1)
        ends.send()


@app.command()
def watch(
    context: typer.Context,
    inside: Annotated[Path, typer.Argument(metavar="IN", help="The folder where pictures appear.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder for the results.")],
    jobs: Jobs = None,
    format_: Format = None,
    background: Background = None,
    quality: Quality = None,
    operation: Operation = None,
    refine: Refine = None,
    trim: Trim = None,
    padding: Padding = None,
    size: Size = None,
    scale: Scale = None,
    position: Position = None,
    shadow: Shadow = None,
    recipe: Recipe = None,
    option: More = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Cut out what appears or changes in a folder and those below it, until Ctrl-C."""
    from app.shell.display import say, summary
    from app.shell.fields import read
    from app.shell.serving import borrowed
    from app.shell.watching import Folder, check
    from app.shell.watching import watch as watch_folder

    asked = read(_typed(context), option or [], None)
    check(inside, out)
    _stop_on_signals()
    folder = Folder(inside, out, asked.format)
    with borrowed(Layout.at(data)) as stack:
        say(f"Watching {inside}; Ctrl-C ends it.")
        tally = watch_folder(stack.address, _tokens(stack), folder, asked.fields, jobs or _fitting(stack))
    summary(tally.done, folder.there, tally.failed)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The archive to write, FILE.tar.", readable=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Save everything in one file, while the service runs or not. Exit code 1: something is missing in it."""
    from app.shell.backup import backup as save
    from app.shell.display import say

    _stop_on_signals()
    saved = save(Layout.at(data), file, force=force)
    typer.echo(f"{file}: the database and {saved.objects} objects, {saved.total_bytes / 1e6:.1f} MB.")
    for key in saved.missing:
        say(f"Not saved, because it is not in the object store or cannot be read there: {key}")
    if saved.missing:
        raise typer.Exit(1)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="An archive that backup has written.", readable=False)],
    data: Data = DEFAULT_DATA,
) -> None:
    """Put a backup back into an empty data folder."""
    from app.shell.restore import restore as put_back

    layout = Layout.at(data)
    _stop_on_signals()
    restored = put_back(file, layout)
    when = f"{restored.created_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"{layout.data}: the database and {restored.objects} objects as they were at {when}.")
    if restored.missing:
        typer.echo(f"{len(restored.missing)} objects were missing when the backup was made.")
    typer.echo(f"Start it with {_command(layout, 'up')}")


def _typed(context: typer.Context) -> dict[str, str | bool | None]:
    """What the person has said of the options, None where nothing."""
    given = {name.rstrip("_"): value for name, value in context.params.items()}
    return {name: given[name] for name in SWITCHES}


def _tokens(stack: "Stack") -> "Tokens":
    from app.shell.client import Tokens

    return Tokens(lambda: _mint(stack.state))


def _fitting(stack: "Stack") -> int:
    from app.shell.removal import in_flight

    return in_flight(stack.health())


def _mint(state: "State") -> str:
    from app.core.security import create_access_token
    from app.embedded.stack import secret_key

    return create_access_token(state.local_user_id, secret=secret_key(state), ttl_seconds=TOKEN_SECONDS)


def _curl(stack: "Stack") -> str:
    """A line that works when it is pasted where `up` was called."""
    mint = _command(stack.layout, "token")
    url = f"{stack.address}/api/v1/uploads"
    return f'curl -F file=@photo.jpg -H "Authorization: Bearer $({mint})" {url}'


def _command(layout: Layout, name: str) -> str:
    """How the person at the shell calls one of our commands, from where he stands."""
    script = "./scripts/quickbg" if Path.cwd() == PROJECT_ROOT else str(PROJECT_ROOT / "scripts" / "quickbg")
    data = [] if layout.is_default else ["--data", str(layout.data)]
    return shlex.join([script, name, *data])


def _stop_on_signals() -> None:
    """A closed terminal and a polite kill stop us as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def main() -> None:
    """Run the command line. Whatever goes wrong is one line and an exit code."""
    try:
        app(prog_name="quickbg")
    except AppError as error:
        typer.echo(f"quickbg: {error}", err=True)
        sys.exit(EXIT_CODES.get(type(error), 1))
    except Exception as error:
        if os.environ.get("QUICKBG_DEBUG"):
            raise
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            typer.echo("quickbg: There is no space left on the disk.", err=True)
            sys.exit(1)
        typer.echo(f"quickbg: {type(error).__name__}: {error} (QUICKBG_DEBUG=1 shows where)", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
