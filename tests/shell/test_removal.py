"""Many pictures at once: each fares on its own, and what was begun is gone on with."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from app.shell.display import Lines
from app.shell.errors import UsageProblem
from app.shell.removal import FEWEST, MOST, in_flight, remove
from app.shell.sources import Failure, Url
from app.shell.targets import Job
from tests.shell.service import Service


@pytest.fixture
def service() -> Service:
    return Service()


def jobs_of(folder: Path, **pictures: bytes) -> list[Job]:
    for name, content in pictures.items():
        (folder / f"{name}.jpg").write_bytes(content)
    return [Job(folder / f"{name}.jpg", folder / f"{name}.png") for name in pictures]


def done(service: Service, jobs: Sequence[Job], **options: str) -> list[Failure]:
    return remove(service.client(), jobs, options, Lines())


def test_failures_stop_nobody_else_and_come_in_the_order_of_the_names(tmp_path: Path, service: Service) -> None:
    jobs = jobs_of(tmp_path, bad=b"bad", one=b"1", gone=b"", two=b"2", fault=b"", three=b"3")
    (tmp_path / "gone.jpg").unlink()
    jobs[4] = Job(None, tmp_path / "fault.png")  # type: ignore[arg-type]

    failures = done(service, jobs)

    assert [str(failure).removeprefix(f"{tmp_path}/") for failure in failures] == [
        "bad.jpg: The image has no clear subject.",
        "gone.jpg: No such file or directory",
        "None: Unexpected AttributeError: 'NoneType' object has no attribute 'open'",
    ]
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == ["one", "three", "two"]
    assert (tmp_path / "two.png").read_bytes() == b"cut-out of 2"


def test_what_was_sent_is_not_sent_again(tmp_path: Path, service: Service) -> None:
    (job,) = jobs_of(tmp_path, photo=b"1")
    # A call that ends here has cost a picture.
    service.client().submit(job.source, {"padding": "3"})

    assert done(service, [job], padding="3") == []
    assert len(service.sent) == 1
    assert job.target.exists()

    (copy,) = jobs_of(tmp_path, copy=b"1")
    assert done(service, [copy], padding="3") == []
    assert len(service.sent) == 1  # whatever it is called
    done(service, [Job(copy.source, copy.target, force=True)], padding="4")
    assert len(service.sent) == 2


def test_what_has_failed_before_has_another_try(tmp_path: Path, service: Service) -> None:
    (job,) = jobs_of(tmp_path, photo=b"bad")
    assert len(done(service, [job])) == 1
    service.tasks["0"] = b"bad still"
    assert len(done(service, [job])) == 1
    assert len(service.sent) == 2


def test_what_is_kept_no_longer_is_made_again(tmp_path: Path, service: Service) -> None:
    (job,) = jobs_of(tmp_path, photo=b"1")
    service.client().submit(job.source, {})
    service.forgotten.add("0")
    assert done(service, [job]) == []
    assert len(service.sent) == 2


def test_a_recipe_that_has_changed_makes_another_task(tmp_path: Path, service: Service) -> None:
    (job,) = jobs_of(tmp_path, photo=b"1")
    service.refusal = (422, {"detail": "Choose a new one.", "code": "idempotency_key_reused"})
    service.refuses_once = True
    assert done(service, [job], recipe="shop") == []
    service.client().submit(job.source, {"recipe": "shop"})
    assert len(service.sent) == 2  # the first went under another key


def test_a_url_is_named_and_fetched_anew_only_by_force(tmp_path: Path, service: Service) -> None:
    url = Url("https://example.com/cat.jpg")
    assert done(service, [Job(url, tmp_path / "cat.png")], size="4:5") == []
    assert service.sent == ["size=4%3A5&image_url=https%3A%2F%2Fexample.com%2Fcat.jpg"]
    (tmp_path / "cat.png").unlink()
    done(service, [Job(url, tmp_path / "cat.png")], size="4:5")
    assert len(service.sent) == 1
    done(service, [Job(url, tmp_path / "cat.png", force=True)], size="4:5")
    assert len(service.sent) == 2


@pytest.mark.parametrize("code", ["invalid_option", "recipe_not_found"])
def test_options_that_the_service_refuses_are_told_once(tmp_path: Path, service: Service, code: str) -> None:
    service.refusal = (422, {"detail": "size: this is no size.", "code": code})
    with pytest.raises(UsageProblem, match=r"^size: this is no size\.$"):
        done(service, jobs_of(tmp_path, a=b"1", b=b"2", c=b"3"), size="huge")


@pytest.mark.parametrize(
    ("content_type", "name"), [("image/jpeg", "photo-cutout.jpg"), ("application/zip", "photo-cutout.zip")]
)
def test_a_result_is_named_after_what_it_is(tmp_path: Path, service: Service, content_type: str, name: str) -> None:
    service.content_type = content_type
    (job,) = jobs_of(tmp_path, photo=b"1")
    assert done(service, [Job(job.source, tmp_path / "photo-cutout", ending=False)], recipe="shop") == []
    assert (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("health", "pictures"),
    [
        (None, FEWEST),
        ({"details": {}}, FEWEST),
        ({"details": {"workers": {"online": 1}}}, FEWEST),
        ({"details": {"workers": {"online": 4}}}, 8),
        ({"details": {"workers": {"online": 90}}}, MOST),
    ],
)
def test_as_many_at_once_as_the_service_can_do(health: dict[str, object] | None, pictures: int) -> None:
    assert in_flight(health) == pictures
