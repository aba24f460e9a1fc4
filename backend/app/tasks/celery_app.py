"""Celery: the doorbell between the API and the workers. `celery -A app.tasks.celery_app worker` starts a worker.

The message is a task's id and nothing else; what is to be done, and whether, stands in the row. So Celery keeps no
results, retries nothing, and loses nothing that matters. Jobs of other Celery clients are the exception (`pipelines`):
theirs are the only messages that matter, and come by a queue of their own.
"""

from functools import cache
from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

from app.core.capacity import Capacity
from app.core.config import Settings, load_settings
from app.services.about import memory_of_extras

TASK = "quickbg.remove_background"
QUEUES = ("interactive", "bulk")
FOREIGN = "celery"  # the queue that Celery's clients send to unless they are told otherwise
BACKEND_SECONDS = 2.0  # for the backend of results to answer


def make_worker_app(settings: Settings) -> Celery:
    """The worker's side: late acknowledgement, one message a child, hard limits, fresh interpreters as children."""
    app = Celery("quickbg", broker=settings.broker_url)
    timing = settings.timing
    app.conf.update(
        _common(settings) | _results(settings),
        imports=("app.tasks.worker", "app.tasks.background_removal", "app.tasks.pipelines"),
        # Theirs first: taking a job in is a moment's work, and pictures that always wait would keep it out.
        task_queues=[_foreign_queue(), *map(_queue, QUEUES)],
        task_acks_late=True,
        task_acks_on_failure=True,
        task_acks_on_timeout=True,
        task_reject_on_worker_lost=False,
        task_soft_time_limit=timing.soft_limit,
        task_time_limit=timing.hard_limit,
        worker_consumer="app.tasks.consumer:Consumer",
        worker_pool="app.tasks.pool:TaskPool",  # prefork
        # A forked copy of a process with threads and native libraries is not safe to run in.
        worker_pool_start_method="spawn",
        worker_concurrency=Capacity.of_this_machine(settings.worker_concurrency, memory_of_extras(settings)).children,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=60,
        worker_max_tasks_per_child=200,
        worker_max_memory_per_child=3_000_000,  # KiB; looked at after a task, against the highest ever
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_soft_shutdown_timeout=timing.soft_shutdown,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        broker_heartbeat=30,
        broker_transport_options=(
            {"read_timeout": 15, "write_timeout": 15}
            if settings.broker_is_amqp
            else {
                "visibility_timeout": timing.visibility_timeout,
                "queue_order_strategy": "priority",  # as they are named above
                "socket_connect_timeout": 5,
                "socket_timeout": 15,
                "socket_keepalive": True,
                "health_check_interval": 10,
                "retry_on_timeout": False,
            }
        ),
    )
    return app


def make_publisher_app(settings: Settings) -> Celery:
    """The side that rings: gives up within a few seconds, whatever the broker does.

    It sets no time limits: Celery would stamp them into the message, and the worker drops all but its own.
    """
    app = Celery("quickbg", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        _common(settings),
        broker_connection_timeout=1,
        broker_pool_acquire_timeout=1,
        broker_transport_options=(
            # RabbitMQ takes a message without a word: only a confirmed one has arrived.
            {"confirm_publish": True, "read_timeout": 1, "write_timeout": 1, "max_retries": 0}
            if settings.broker_is_amqp
            else {"socket_connect_timeout": 1, "socket_timeout": 2, "retry_on_timeout": False}
        ),
        task_publish_retry_policy={
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.1,
        },
    )
    return app


def make_results_app(settings: Settings) -> Celery:
    """The side that keeps results for other Celery clients; of use where there is a CELERY_RESULT_BACKEND."""
    app = Celery("quickbg", set_as_current=False)
    app.conf.update(_results(settings), task_serializer="json", accept_content=["json"])
    return app


def _results(settings: Settings) -> dict[str, Any]:
    if settings.celery_result_backend is None:
        return {}
    url = settings.celery_result_backend.get_secret_value()
    return {
        "result_backend": url,
        "redis_socket_connect_timeout": BACKEND_SECONDS,
        "redis_socket_timeout": BACKEND_SECONDS,
        # Whoever keeps a result comes back by himself.
        "result_backend_transport_options": {"retry_policy": {"max_retries": 1, "interval_step": 0.1}},
        "redis_backend_use_ssl": {"ssl_cert_reqs": "required"} if url.startswith("rediss:") else None,
    }


def _common(settings: Settings) -> dict[str, Any]:
    return {
        "task_queues": [_queue(name) for name in QUEUES],
        "task_default_queue": QUEUES[0],
        "task_create_missing_queues": False,
        "task_ignore_result": True,
        "result_backend": None,
        "task_serializer": "json",
        "accept_content": ["json"],
        # Without the name, the certificate of any host would do.
        "broker_use_ssl": {"server_hostname": None} if settings.broker_url.startswith("amqps:") else None,
    }


def _queue(name: str) -> Queue:
    # Named (for RabbitMQ), because a virtual host may have another default. A replicated queue would gain us nothing:
    # the sweeper rings again for whatever a broker loses.
    classic = {"x-queue-type": "classic"}
    return Queue(name, Exchange(name, type="direct"), routing_key=name, queue_arguments=classic)


def _foreign_queue() -> Queue:
    # As other clients declare it, without arguments: RabbitMQ refuses whoever declares it otherwise.
    return Queue(FOREIGN, Exchange(FOREIGN, type="direct"), routing_key=FOREIGN)


@cache
def _app() -> Celery:
    return make_worker_app(load_settings())


def __getattr__(name: str) -> Celery:
    # Importing this module reads no settings: the app is made when the `celery` command asks for it.
    if name in {"app", "celery"}:
        return _app()
    raise AttributeError(name)
