"""Every time constant of the queue, derived in one place from `TASK_TIMEOUT_SECONDS` and `LEASE_SECONDS`.

They lean on one another: a lease outlives several heartbeats, the hard limit comes after the soft one, an attempt
loses its claim after the hard limit, and the broker redelivers last of all.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """All values in seconds."""

    soft_limit: int  # the attempt is asked to stop (seen between native calls only)
    hard_limit: int  # its process is killed
    attempt_bound: int  # past this no heartbeat prolongs the lease, so a hung process cannot hold a task
    visibility_timeout: int  # the broker hands an unacknowledged message out again
    lease: float  # without a heartbeat for this long an attempt is taken for dead
    heartbeat: float
    sweep_interval: float
    redispatch_after: float  # a rung task that is not claimed by then may have lost its message
    dispatch_grace: float = 2.0  # the API's own bell has this long before the sweeper rings
    stale_after: float = 20.0  # a process that has not beaten for this long counts as gone
    lost_retry_base: float = 5.0  # back-off base after a lost worker; the task itself was not at fault
    retry_cap: float = 900.0
    # Celery sleeps for all of it whenever anything runs; what is not finished by then goes back without a lost retry.
    soft_shutdown: float = 10.0
    max_queue_age: float = 86_400.0

    @classmethod
    def from_timeout(cls, task_timeout: int, lease: float = 45.0) -> "Timing":
        """Derive the limits from the time one attempt may take, and from the lease, both in seconds."""
        sweep = min(5.0, lease / 5)
        return cls(
            soft_limit=task_timeout,
            hard_limit=task_timeout + 15,
            attempt_bound=task_timeout + 30,
            visibility_timeout=max(900, 3 * task_timeout),
            lease=lease,
            heartbeat=min(5.0, lease / 5),
            sweep_interval=sweep,
            redispatch_after=2 * sweep,
        )
