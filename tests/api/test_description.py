"""The OpenAPI document, walked: what it promises of every route, and that its errors are those that can occur."""

from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI

from app.api.compat import removebg_errors
from app.api.errors import MEDIA_TYPE
from app.core.config import Settings
from app.core.operations import operations as drawn
from app.main import create_app

PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
THEIRS = {removebg_errors.JSON: {"schema": {"$ref": "#/components/schemas/RemoveBgErrors"}}}
OTHERWISE = {(f"{prefix}/health", "503") for prefix in ("", "/api", "/api/v1")}  # the matrix itself is the answer
EMPTY = {"204", "304", "307"}


@pytest.fixture(scope="module")
def document(settings: Settings) -> dict[str, Any]:
    return create_app(settings).openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, told) for path, item in document["paths"].items() for method, told in item.items()]


def test_it_is_one(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)


def test_every_operation_says_what_it_does_and_answers(document: dict[str, Any]) -> None:
    for path, method, told in operations(document):
        where = f"{method} {path}"
        assert told["summary"], where
        assert told["tags"], where
        good = {status: answer for status, answer in told["responses"].items() if status < "400"}
        assert good, where
        for status, answer in good.items():
            if status not in EMPTY:
                assert any(said.get("schema") != {} for said in answer["content"].values()), where


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for path, method, told in operations(document):
        for status, answer in told["responses"].items():
            if status >= "400" and (path, status) not in OTHERWISE:
                expected = THEIRS if removebg_errors.concerns(path) else PROBLEM
                assert answer["content"] == expected, f"{method} {path} {status}"


def test_errors_are_those_that_can_occur(document: dict[str, Any]) -> None:
    for path, method, told in operations(document):
        where, statuses = f"{method} {path}", set(told["responses"])
        assert statuses >= {"400", "408", "431", "500", "503"}, where
        if removebg_errors.concerns(path):  # which says some of them by others
            assert statuses.isdisjoint({"401", "413", "422"}), where
            statuses |= {"401", "413", "422"}
        assert statuses >= ({"413", "422"} if "requestBody" in told else set()), where
        assert statuses >= ({"401", "403"} if told.get("security") else set()), where
        assert statuses >= ({"404"} if "{" in path else set()), where
        if told.get("security") and path not in {"/metrics", "/api/metrics"}:
            assert "429" in statuses, where
        assert list(told["responses"]) == sorted(told["responses"])


def test_nothing_of_the_framework_shines_through(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "ValidationError" not in document["components"]["schemas"]


def test_the_form_names_every_operation(document: dict[str, Any]) -> None:
    content = document["paths"]["/api/v1/uploads"]["post"]["requestBody"]["content"]
    for described in content.values():
        fields = described["schema"]["properties"]
        assert fields["operation"]["enum"] == [*drawn(), ""]
        assert fields["padding"]["default"] == "10px"
