"""Servers under load: ours, with all that belongs to it, and rembg's own; in turn, on the same machine."""

import itertools
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx2

from app.core.security import create_access_token
from app.embedded import ports, privileges
from app.embedded.control import Stack
from app.embedded.layout import Layout
from app.embedded.stack import secret_key
from app.shell.client import Tokens
from app.shell.display import say
from app.shell.serving import borrowed
from scripts.bench import rembg_environment
from scripts.bench.clients import Client, OurClient, RembgClient
from scripts.bench.machine import family, peak_mb, reset_peaks
from scripts.bench.photos import Group
from scripts.bench.results import OURS, THEIRS, TITLES, Level, Load, Memory
from scripts.bench.sides import BenchProblem

IN_FLIGHT = (1, 2, 4, 8)
OPTIONS: dict[str, dict[str, str]] = {OURS: {}, "quickbg-norefine": {"refine": "false"}}
START_SECONDS = 300.0  # its first import compiles for a minute
TOKEN_SECONDS = 900


@dataclass(frozen=True)
class Servers:
    """Both, running and idle."""

    stack: Stack
    rembg_pid: int
    clients: Mapping[str, Client]

    def processes(self) -> tuple[list[int], list[int], list[int]]:
        """Our worker's children, everything of ours, and rembg's server."""
        workers = [each.pid for each in self.stack.supervisor.processes() if each.name == "worker"]
        children = [pid for worker in workers for pid in family(worker)[1:]]
        whole = [] if self.stack.process is None else family(self.stack.process.pid)
        return children, whole, family(self.rembg_pid)


@contextmanager
def servers() -> Iterator[Servers]:
    """Both servers on free ports of loopback, ours with a data folder of its own; stopped afterwards.

    Raises:
        AppError: ours does not start.
        BenchProblem: rembg's does not.
    """
    folder = Path(tempfile.mkdtemp(prefix="quickbg-bench-data-"))
    try:
        with borrowed(Layout.at(folder)) as stack, _rembg() as (process, address):
            state = stack.state
            secret = secret_key(state)
            tokens = Tokens(lambda: create_access_token(state.local_user_id, secret=secret, ttl_seconds=TOKEN_SECONDS))
            ours = {name: OurClient(stack.address, tokens, options) for name, options in OPTIONS.items()}
            yield Servers(stack, process.pid, {**ours, THEIRS: RembgClient(address)})
    finally:
        privileges.remove(folder)  # what belongs to Postgres' user, too


@contextmanager
def _rembg() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = ports.choose(())
    # Without its web page, which would take memory and is not used.
    arguments = ("s", "--no-ui", "--host", ports.HOST, "--port", str(port), "--log_level", "warning")
    program = rembg_environment.VENV / "bin" / "rembg"
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - our own words
            [str(program), *arguments],
            env=rembg_environment.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            address = f"http://{ports.HOST}:{port}"
            _wait_for(address, process)
            yield process, address
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx2.get(f"{address}/openapi.json", trust_env=False, timeout=5).raise_for_status()
        except httpx2.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise BenchProblem("rembg's server does not start.")


def measure(running: Servers, groups: Sequence[Group], seconds: float) -> Iterator[tuple[list[Load], Memory]]:
    """For each group the loads of every variant, and the memory that they took.

    Args:
        running: the servers.
        groups: the pictures, small ones first: what a server keeps of large ones would count for the small ones.
        seconds: for how long new pictures are sent at each level.

    Raises:
        BenchProblem: a picture fails, or a server dies.
    """
    variants = [variant for variant in TITLES if variant in running.clients]
    for group in groups:
        for variant in variants:  # unmeasured: the first picture makes room in memory
            burst(running.clients[variant], group.files[:1], 1, 0)
        reset_peaks(pid for pids in running.processes() for pid in pids)
        levels: dict[str, list[Level]] = {variant: [] for variant in variants}
        for in_flight in IN_FLIGHT:
            say(f"Service, {group.size}: {in_flight} in flight ...")
            for variant in variants:
                levels[variant].append(burst(running.clients[variant], group.files, in_flight, seconds))
            variants.append(variants.pop(0))
        workers, whole, rembg = (peak_mb(pids) for pids in running.processes())
        loads = [
            Load(size=group.size, variant=variant, levels=levels[variant]) for variant in TITLES if variant in levels
        ]
        yield loads, Memory(size=group.size, workers=workers, all_of_ours=whole, rembg=rembg)


def burst(client: Client, files: Sequence[Path], in_flight: int, seconds: float) -> Level:
    """Keeps so many pictures in flight for that long, and waits for the last ones; at least one each is sent.

    Raises:
        BenchProblem: a picture fails, or the server does.
    """
    pictures = itertools.cycle(files)
    lock = threading.Lock()
    latencies: list[float] = []
    begun, computed = time.perf_counter(), time.process_time()

    def send() -> None:
        while True:
            with lock:
                picture = next(pictures)
            sent = time.perf_counter()
            client.cut_out(picture, in_flight)
            done = time.perf_counter()
            latencies.append(done - sent)
            if done - begun >= seconds:
                return

    with ThreadPoolExecutor(in_flight) as pool:
        threads = [pool.submit(send) for _ in range(in_flight)]
    try:
        for thread in threads:
            thread.result()
    except httpx2.HTTPError as error:
        raise BenchProblem(f"A server does not answer as it should: {str(error) or type(error).__name__}") from error
    wall = time.perf_counter() - begun
    return Level(
        in_flight=in_flight,
        images=len(latencies),
        seconds=round(wall, 3),
        latency=round(median(latencies), 3),
        client_cores=round((time.process_time() - computed) / wall, 3),
    )
