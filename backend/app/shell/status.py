"""`quickbg status`: the processes and the health matrix."""

from datetime import timedelta

from rich.console import Console
from rich.table import Table

from app.embedded.control import Stack


def show(stack: Stack) -> bool:
    """Print both tables; returns whether all is healthy."""
    console = Console(highlight=False)
    console.print(f"{stack.address}  (data: {stack.layout.data})", markup=False, soft_wrap=True)
    processes = Table("process", "state", "pid", "up", box=None, pad_edge=False)
    for process in stack.supervisor.processes():
        pid = str(process.pid or "")
        processes.add_row(process.name, process.state.lower(), pid, str(timedelta(seconds=process.uptime)))
    console.print(processes)
    health = stack.health()
    if health is None:
        console.print("health: the API does not answer")
        return False
    checks = Table("check", "answer", box=None, pad_edge=False)
    for name, answer in health["checks"].items():
        checks.add_row(name, answer)
    console.print(checks)
    console.print(f"health: {health['status']}", markup=False)
    return bool(health["status"] == "healthy")
