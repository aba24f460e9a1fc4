"""Options under a name: made, changed, named by version, and gone; each account has its own."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.core.options import read_options
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from app.services.recipes import BUILT_IN, MAX_RECIPES
from app.storage.memory import MemoryStore
from tests.api.conftest import bearer
from tests.conftest import make_user
from tests.factories import row
from tests.pictures import encoded

RECIPES, UPLOADS = "/api/v1/recipes", "/api/v1/uploads"
SHOP = {"background": "white", "format": "jpg"}


@pytest.fixture
def owner(settings: Settings, user: User) -> Iterator[TestClient]:
    with TestClient(create_app(settings, store=MemoryStore()), headers=bearer(settings, user.id)) as client:
        yield client


def make(client: TestClient, name: str = "shop", options: Any = SHOP) -> Any:
    return client.post(RECIPES, json={"name": name, "options": options})


def change(client: TestClient, options: Any, name: str = "shop") -> Any:
    return client.put(f"{RECIPES}/{name}", json={"options": options})


def upload(client: TestClient, key: str | None = None, **fields: str) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(UPLOADS, files={"file": ("a.jpg", encoded())}, data=fields, headers=headers)


def refused(answer: Any, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    return str(answer.json()["detail"])


def test_a_recipe_and_its_versions(owner: TestClient) -> None:
    made = make(owner)
    assert (made.status_code, made.headers["Location"]) == (201, f"{RECIPES}/shop")
    assert made.json() | {"created_at": None} == {
        "name": "shop",
        "version": 1,
        "options": {"background": "#ffffff", "format": "jpg"},
        "built_in": False,
        "created_at": None,
    }
    changed = change(owner, {"background": "navy"})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    versions = owner.get(f"{RECIPES}/shop").json()["recipes"]
    assert [(each["version"], each["options"]) for each in versions] == [
        (2, {"background": "#000080"}),
        (1, {"background": "#ffffff", "format": "jpg"}),
    ]
    listed = owner.get(RECIPES).json()["recipes"]
    assert [each["name"] for each in listed] == sorted([*BUILT_IN, "shop"])
    assert [each["version"] for each in listed if not each["built_in"]] == [2]


def test_a_deleted_recipe_is_gone_and_its_versions_are_not_given_again(owner: TestClient) -> None:
    make(owner)
    assert owner.delete(f"{RECIPES}/shop").status_code == 204
    for answer in (
        owner.get(f"{RECIPES}/shop"),
        change(owner, SHOP),
        owner.delete(f"{RECIPES}/shop"),
        upload(owner, recipe="shop"),
        upload(owner, recipe="shop@1"),
    ):
        assert refused(answer, 404, "recipe_not_found") == "There is no such recipe."
    assert make(owner).json()["version"] == 2


def test_there_is_one_of_each_name(owner: TestClient) -> None:
    make(owner)
    refused(make(owner), 409, "recipe_exists")


def test_there_are_only_so_many(owner: TestClient) -> None:
    for number in range(MAX_RECIPES):
        assert make(owner, f"shop-{number}").status_code == 201
    assert "delete one" in refused(make(owner, "one-more"), 409, "too_many_recipes")
    assert change(owner, SHOP, "shop-1").status_code == 200


@pytest.mark.parametrize("name", ["Shop", "-shop", "s" * 64, "my shop", "shop@1", "", "shöp", "shop\n"])
def test_names_are_simple(owner: TestClient, name: str) -> None:
    assert "name" in refused(make(owner, name), 422, "invalid_request")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"background": "reddish"}, "background"),
        ({"format": "jpg"}, "format"),
        ({"trim": "yes"}, "trim"),
        ({"shadow_opacity": True}, "shadow_opacity"),
        ({"recipe": "marketplace-white"}, "recipe"),
        ("white", "options"),
    ],
)
def test_options_are_judged_when_they_are_kept(owner: TestClient, options: Any, named: str) -> None:
    answer = make(owner, options=options)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]
    assert owner.get(f"{RECIPES}/shop").status_code == 404


def test_an_upload_is_made_with_a_recipe(owner: TestClient, sessions: Sessions) -> None:
    make(owner)
    change(owner, {"background": "navy", "format": "webp", "trim": False})

    def task(**fields: str) -> Any:
        answer = upload(owner, **fields)
        assert answer.status_code == 202, answer.text
        return row(sessions, UUID(answer.json()["task_id"]))

    newest, first, plain = task(recipe="shop"), task(recipe="shop@1", format="png"), task()
    assert (newest.recipe, first.recipe, plain.recipe) == ("shop@2", "shop@1", None)
    assert (newest.options["background"], newest.options["format"], newest.options["trim"]) == (
        "#000080",
        "webp",
        False,
    )
    assert (first.options["background"], first.options["format"]) == ("#ffffff", "png")
    assert owner.get(f"/api/v1/tasks/{newest.id}").json()["recipe"] == "shop@2"


def test_what_is_named_counts_more_even_where_alone_it_would_be_wrong(owner: TestClient, sessions: Sessions) -> None:
    make(owner, options={"background": "white"})
    answer = upload(owner, recipe="shop", format="jpg")
    assert row(sessions, UUID(answer.json()["task_id"])).options["format"] == "jpg"
    assert "format" in refused(upload(owner, format="jpg"), 422, "invalid_option")


@pytest.mark.parametrize("name", BUILT_IN)
def test_everybody_has_the_built_in_ones(owner: TestClient, sessions: Sessions, name: str) -> None:
    answer = upload(owner, recipe=name)
    task = row(sessions, UUID(answer.json()["task_id"]))
    assert task.recipe == f"{name}@1"
    assert task.options == read_options(BUILT_IN[name]).model_dump(mode="json")
    (told,) = owner.get(f"{RECIPES}/{name}").json()["recipes"]
    assert (told["built_in"], told["version"], told["created_at"]) == (True, 1, None)
    refused(upload(owner, recipe=f"{name}@2"), 404, "recipe_not_found")
    refused(owner.delete(f"{RECIPES}/{name}"), 404, "recipe_not_found")


def test_ones_own_comes_before_a_built_in_one(owner: TestClient, sessions: Sessions) -> None:
    assert make(owner, "marketplace-white", {"trim": False}).status_code == 201
    answer = upload(owner, recipe="marketplace-white")
    assert row(sessions, UUID(answer.json()["task_id"])).options["trim"] is False
    listed = owner.get(RECIPES).json()["recipes"]
    assert [each["built_in"] for each in listed if each["name"] == "marketplace-white"] == [False]


@pytest.mark.parametrize("reference", ["Shop", "shop@", "shop@0", "shop@01", "shop@1@2", "@1", "shop@9999999", "../x"])
def test_a_reference_is_a_name_or_a_name_with_a_version(owner: TestClient, reference: str) -> None:
    assert "recipe:" in refused(upload(owner, recipe=reference), 422, "invalid_option")


def test_the_recipe_of_another_account_is_not_there(settings: Settings, owner: TestClient, sessions: Sessions) -> None:
    make(owner)
    other = bearer(settings, make_user(sessions).id)
    for answer in (
        owner.get(f"{RECIPES}/shop", headers=other),
        owner.put(f"{RECIPES}/shop", json={"options": SHOP}, headers=other),
        owner.delete(f"{RECIPES}/shop", headers=other),
    ):
        refused(answer, 404, "recipe_not_found")
    assert owner.get(f"{RECIPES}/shop").json()["recipes"][0]["version"] == 1


def test_another_recipe_is_another_request(owner: TestClient) -> None:
    make(owner)
    first = upload(owner, key="k", recipe="shop")
    assert upload(owner, key="k", recipe="shop").json() == first.json()
    refused(upload(owner, key="k", recipe="marketplace-white"), 422, "idempotency_key_reused")
