"""Requests to every operation that the API's description names, each filled with what it asks for."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.testclient import TestClient

from app.api.compat.removebg_errors import concerns
from tests.pictures import encoded, subject

FILE = ("photo.png", encoded(subject(80, 60), "PNG"))
TEXTS = {"email": "nobody@example.com", "password": "correct horse battery staple"}  # by format
# What a field has to be called when it names something that somebody owns, or a place among such.
NAMES = re.compile(r"(^|_)(ids?|keys?|cursor|recipe|recipe_name)$")
NAMES_NOTHING = {"client_id"}  # of OAuth

Schema = dict[str, Any]
Ids = Mapping[str, Any]  # what to put for what names something, by the name of the field


@dataclass
class Operation:
    method: str
    path: str
    told: Schema
    components: dict[str, Schema]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def names_in_path(self) -> bool:
        return "{" in self.path

    def ways(self, ids: Ids) -> Iterator["Way"]:
        """A request in each of the ways that it can be sent. Raises `LookupError` when there is no filling it."""
        parameters = [
            each for each in self.told.get("parameters", []) if each["in"] != "header" or each.get("required")
        ]
        filled = Filled(self.components, ids)
        values = {
            where: {
                each["name"]: filled.value(each["name"], each["schema"])
                for each in parameters
                if each["in"] == where and (each.get("required") or filled.is_name(each["name"], each["schema"]))
            }
            for where in ("path", "query")
        }
        url = self.path.format(**values["path"])
        content = self.told.get("requestBody", {}).get("content") or {None: {"schema": {}}}
        for kind, described in content.items():
            for body in filled.ways(described["schema"]):
                yield Way(self, url, values["query"], kind, body)


@dataclass
class Way:
    operation: Operation
    url: str
    query: dict[str, Any]
    kind: str | None
    body: Any

    def __str__(self) -> str:
        return f"{self.operation} {self.kind or ''} {sorted(self.body)}"

    def refused(self, status: int, code: str) -> tuple[int, str]:
        """How somebody is told here that he may not come in, where other doors say so by this status and code."""
        return (403, "auth_failed") if concerns(self.url) else (status, code)

    def send(self, client: TestClient, headers: Mapping[str, str]) -> Any:
        if self.kind == "application/json":
            method, params = self.operation.method, self.query
            return client.request(method, self.url, params=params, headers=dict(headers), json=self.body)
        files = {name: FILE for name, value in self.body.items() if value in (FILE, [FILE])}
        fields = {name: value for name, value in self.body.items() if name not in files}
        match self.kind:
            case None:
                sent: dict[str, Any] = {}
            case "application/x-www-form-urlencoded":
                sent = {"data": fields}
            case "multipart/form-data":  # a field that is sent as a file without a name is a field
                sent = {"files": files | {name: (None, _text(value)) for name, value in fields.items()}}
            case other:
                raise LookupError(f"{self.operation}: nobody knows how to send {other}")
        method, params = self.operation.method, self.query
        return client.request(method, self.url, params=params, headers=dict(headers), **sent)


def told(answer: Any) -> tuple[int, str]:
    """The status and the code of an error, which one door has in a list."""
    body = answer.json()
    found = body if "code" in body else body["errors"][0]
    return answer.status_code, found["code"]


def _text(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)


@dataclass
class Filled:
    """Values by their description: all that is required, and whatever names something."""

    components: dict[str, Schema]
    ids: Ids

    def ways(self, schema: Schema) -> Iterator[Any]:
        """Bodies of each kind that there is."""
        for found in self._resolved(schema).get("anyOf", [schema]):
            if found.get("type") == "array":
                yield self.value("flow_ids", found)
            else:
                yield from self.bodies(found)

    def bodies(self, schema: Schema) -> Iterator[dict[str, Any]]:
        found = self._resolved(schema)
        properties = found.get("properties", {})
        for way in found.get("oneOf", [{}]):
            needed = [*found.get("required", ()), *way.get("required", ())]
            if "oneOf" not in found:
                needed += [name for name, each in properties.items() if self.is_name(name, each)]
            yield {name: self.value(name, properties[name]) for name in dict.fromkeys(needed)}

    def is_name(self, name: str, schema: Schema) -> bool:
        formats = {schema.get("format"), *(each.get("format") for each in schema.get("anyOf", ()))}
        return "uuid" in formats or (NAMES.search(name) is not None and name not in NAMES_NOTHING)

    def value(self, name: str, schema: Schema) -> Any:
        if self.is_name(name, schema):
            return self.ids[name]
        found = self._resolved(schema)
        chosen = [found[word][0] for word in ("examples", "enum") if word in found]
        if chosen or "default" in found:
            return chosen[0] if chosen else found["default"]
        match found.get("type"):
            case "string" if found.get("format") == "binary":
                return FILE
            case "string":
                return TEXTS.get(found.get("format", ""), "x" * max(1, found.get("minLength", 1)))
            case "integer":
                return found.get("minimum", 1)
            case "array":
                return [self.value(name, found["items"])]
        raise LookupError(f"nobody knows what to put for {name}: {found}")

    def _resolved(self, schema: Schema) -> Schema:
        if "$ref" in schema:
            return self._resolved(self.components[schema["$ref"].rpartition("/")[2]])
        kinds = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
        if len(kinds) == 1:  # a value that may be null
            return self._resolved(kinds[0]) | {word: schema[word] for word in ("examples",) if word in schema}
        return schema


def operations(document: Schema) -> list[Operation]:
    return [
        Operation(method.upper(), path, told, document["components"]["schemas"])
        for path, item in document["paths"].items()
        for method, told in item.items()
    ]
