"""Sends images through a pipeline of QuickBG, as any Celery client can. Needs Celery alone, and nothing of ours:

    python -m venv client && client/bin/pip install 'celery[redis]'
    client/bin/python submit_job.py --broker-url redis://:password@host:6379/0 \\
        --pipeline remove-background --image-url https://example.com/cup.jpg --callback-url https://shop.example.com/done

Prints the task's id and, with --wait, its result as JSON. Exit code 1: it failed; 2: the call makes no sense.
"""

import argparse
import json
import os
import sys
from typing import Any, NoReturn
from urllib.parse import urlsplit

try:
    from celery import Celery
    from celery.exceptions import TimeoutError as NothingYet
except ImportError:
    sys.exit("submit_job: Celery is needed: pip install 'celery[redis]'")

TASK = "process_pipeline"
PATIENCE = 5  # seconds for the broker, and for the backend, to answer
REDIS, AMQP = ("redis", "rediss"), ("amqp", "amqps")


def main() -> None:
    """Send the job, and wait for it if that is asked for."""
    asked = _read_arguments()
    images = [{"id": str(number), "url": url} for number, url in enumerate(asked.image_url, 1)]
    request = {"pipeline": asked.pipeline, "source_images": images, "config": asked.config}
    app = _client(asked.broker_url, asked.result_backend)
    try:
        sent = app.send_task(TASK, args=(request, asked.callback_url), queue="celery", retry=False)
    except Exception as error:
        _end(f"The job could not be sent: {_said(error)}")
    _say(sent.id)
    if asked.wait is not None:
        _wait(sent, asked.wait)


def _wait(sent: Any, seconds: float) -> None:
    try:
        result = sent.get(timeout=seconds)
    except NothingYet:
        _end(f"There is no result after {seconds:g} seconds; the job goes on.")
    except ValueError as refused:
        _end(str(refused))
    except Exception as error:
        _end(f"The result could not be fetched: {_said(error)}")
    _say(json.dumps(result, indent=2))


def _client(broker: str, backend: str | None) -> Celery:
    app = Celery("submit-job", broker=broker, backend=backend)
    is_redis = urlsplit(broker).scheme in REDIS
    app.conf.update(
        broker_connection_timeout=PATIENCE,
        broker_transport_options=(
            {"socket_connect_timeout": PATIENCE, "socket_timeout": PATIENCE}
            if is_redis
            # RabbitMQ takes a message without a word: only a confirmed one has arrived.
            else {"confirm_publish": True, "max_retries": 0}
        ),
        redis_socket_connect_timeout=PATIENCE,
        result_backend_transport_options={"retry_policy": {"max_retries": 1}},
    )
    return app


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    environment = os.environ.get
    parser.add_argument(
        "--pipeline", required=True, help="an operation of the server: remove-background, mask, random …"
    )
    parser.add_argument(
        "--image-url", required=True, action="append", metavar="URL", help="an image; again and again for several"
    )
    parser.add_argument("--callback-url", metavar="URL", help="is sent the result, signed, when all images are done")
    parser.add_argument(
        "--config", type=_config, default={}, metavar="JSON", help='options, like \'{"format": "webp"}\''
    )
    parser.add_argument(
        "--broker-url",
        type=_url_of(*REDIS, *AMQP),
        default=environment("CELERY_BROKER_URL") or environment("REDIS_URL"),
        metavar="URL",
        help="the server's broker: redis://… or amqp://… (else: CELERY_BROKER_URL or REDIS_URL of the environment)",
    )
    parser.add_argument(
        "--result-backend",
        type=_url_of(*REDIS),
        default=environment("CELERY_RESULT_BACKEND"),
        metavar="URL",
        help="where the server keeps results: redis://… (else: CELERY_RESULT_BACKEND of the environment)",
    )
    parser.add_argument("--wait", type=_seconds, metavar="SECONDS", help="wait for the result, and print it as JSON")
    asked = parser.parse_args()
    if asked.broker_url is None:
        parser.error("no broker: --broker-url is needed")
    if asked.wait is not None and asked.result_backend is None:
        parser.error("--wait needs --result-backend")
    return asked


def _config(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise argparse.ArgumentTypeError('a JSON object like {"format": "webp"} is expected')
    return config


def _url_of(*schemes: str) -> Any:
    def url(text: str) -> str:
        try:
            parts = urlsplit(text)
            is_right = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_right = False
        if not is_right:  # without what was given: there is a password in it
            raise argparse.ArgumentTypeError(f"a URL is expected that begins with one of {', '.join(schemes)}")
        return text

    return url


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError("a number of seconds is expected, a day at most")
    return seconds


def _said(error: Exception) -> str:
    """In a line, without the addresses that libraries repeat."""
    return f"the server did not answer ({type(error).__name__})."


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _end(sentence: str) -> NoReturn:
    sys.exit(f"submit_job: {sentence}")


if __name__ == "__main__":
    main()
