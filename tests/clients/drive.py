"""Runs calls of an unchanged client of remove.bg, in the environment of `requirements-clients.txt`.

Standard input: {"client", "url", "key", "calls": [[method, arguments]]}; standard output: for each call {"returned"} or
{"raised"}. Bytes travel as {"bytes": base64}, a client's account as the method `account.…`.
"""

import base64
import importlib
import json
import sys
from operator import attrgetter
from typing import Any

THEIRS = "https://api.remove.bg"


def connect(name: str, url: str, key: str) -> Any:
    """The client, sent to `url` in the way that docs/migration.md names."""
    package: Any = importlib.import_module(name)
    if name == "removebg":
        package.removebg.API_ENDPOINT = f"{url}/v1.0/removebg"
        return package.RemoveBg(key, "error.log")
    if name == "remove_bg_api":
        package.API_URL = f"{url}/v1.0"
        return package.RemoveBg(key)
    if name == "rembgpy":
        package.bg.base_url = f"{url}/v1.0/removebg"
        return package.RemBg(key, "error.log")
    # RemoveBgPlus names the address within a function.
    requests = package.removebg.requests
    post = requests.post
    requests.post = lambda address, **rest: post(address.replace(THEIRS, url), **rest)
    return package.RemoveBg(key)


def told(outcome: Any) -> Any:
    return {"bytes": base64.b64encode(outcome).decode()} if isinstance(outcome, bytes) else outcome


def meant(argument: Any) -> Any:
    is_bytes = isinstance(argument, dict) and set(argument) == {"bytes"}
    return base64.b64decode(argument["bytes"]) if is_bytes else argument


def run(asked: dict[str, Any]) -> list[dict[str, Any]]:
    outcomes: list[dict[str, Any]] = []
    try:
        client = connect(asked["client"], asked["url"], asked["key"])
    except Exception as error:  # of `remove_bg_api`, which asks for the account first
        return [{"raised": repr(error)}]
    for method, arguments in asked["calls"]:
        try:
            returned = attrgetter(method)(client)(**{name: meant(value) for name, value in arguments.items()})
            outcomes.append({"returned": told(returned)})
        except Exception as error:
            outcomes.append({"raised": repr(error)})
    return outcomes


json.dump(run(json.load(sys.stdin)), sys.stdout)
