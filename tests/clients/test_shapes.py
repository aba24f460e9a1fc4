"""What clients send that are not installed here, built after their sources; and many calls at once."""

import base64
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from json import dumps
from urllib.parse import urlencode
from uuid import UUID

import httpx2
import pytest

from tests.clients.pictures import BALL, HEIGHT, TO_SEE, WIDTH, alike, seen
from tests.clients.running import Shop, pictures
from tests.e2e.conftest import Deployment
from tests.embedded_services import wait_for
from tests.pictures import encoded, subject

pytestmark = pytest.mark.xdist_group("e2e")

CALLS = 50
ANOTHER = encoded(subject(160, 200))
BOUNDARY = b"-----------RubyMultipartPost-20086acb9553daf9e055fd993b473084"
Part = tuple[bytes, bytes]  # what follows `Content-Disposition: form-data; `, up to the empty line; and its body


@dataclass(frozen=True)
class Shape:
    """One request, and what it is answered with."""

    body: Callable[[str], bytes]  # made of the URL of the picture
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str = "X-Api-Key"
    kind: str = "PNG"
    size: tuple[int, int] = (WIDTH, HEIGHT)
    corner: tuple[int, ...] = (0,)  # its last channels
    typed: bool = True

    @property
    def json(self) -> bool:
        return self.headers.get("Accept") == JSON


def form(*parts: Part, quoted: bool = False) -> Shape:
    lines = [b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (BOUNDARY, *part) for part in parts]
    made = b"".join(lines) + b"--%s--\r\n" % BOUNDARY
    boundary = '"%s"' if quoted else "%s"
    return Shape(lambda _: made, f"multipart/form-data; boundary={boundary % BOUNDARY.decode()}")


def named(**fields: str) -> Iterator[Part]:
    return ((b'name="%s"' % name.encode(), value.encode()) for name, value in fields.items())


def file(*headers: bytes) -> Part:
    return b"\r\n".join([b'name="image_file"; filename="ball.png"', *headers]), TO_SEE


def query(**fields: str) -> Shape:
    """The address of the picture stands for `URL`."""
    return Shape(
        lambda url: urlencode({name: value.replace("URL", url) for name, value in fields.items()}).encode(),
        "application/x-www-form-urlencoded",
    )


JSON = "application/json"
WANTED = {"Accept": JSON}
PNG = b"Content-Type: image/png"
COUNTED = b"Content-Length: %d" % len(TO_SEE)
BASE64 = base64.b64encode(TO_SEE).decode()
UNUSED = ("bg_color", "bg_image_url", "channels", "crop", "crop_margin", "position", "roi", "scale", "shadow_type")
BY_CURL = form(file(PNG), *named(size="auto"))
SHAPES = {
    "curl": BY_CURL,
    "curl with a token": replace(BY_CURL, key="Authorization"),
    "Ruby, a file": form(*named(size="auto"), file(COUNTED, PNG, b"Content-Transfer-Encoding: binary")),
    "Ruby, an address": query(image_url="URL", size="auto"),
    "Ruby, a PNG that saves bandwidth": replace(query(image_url="URL", format="zip", size="auto"), kind="ZIP"),
    "PHP, a file": replace(
        form(
            file(COUNTED, PNG),
            (b'name="size"\r\nContent-Length: 4', b"full"),
            (b'name="bg_color"\r\nContent-Length: 7', b"#CCCCCC"),
        ),
        key="X-API-Key",
        kind="JPEG",
        corner=(0xCC, 0xCC, 0xCC, 255),
    ),
    "PHP, base64 both ways": replace(query(image_file_b64=BASE64, size="full"), headers=WANTED),
    "Go": replace(
        form(
            file(b"Content-Type: application/octet-stream"),
            *named(format="zip", size="auto", type="", channels="", bg_color=""),
        ),
        kind="ZIP",
    ),
    "remove-bg-cli": replace(
        form(file(PNG), *named(size="auto", format="zip", type="auto", **dict.fromkeys(UNUSED, ""))), kind="ZIP"
    ),
    "removebg as it is in its repository": replace(
        form(
            *named(size="regular", type="auto", type_level="none", format="auto", roi="0 0 100% 100%", crop="false"),
            *named(scale="original", position="original", channels="rgba", add_shadow="false", semitransparency="true"),
            file(),
        ),
        size=(577, 433),
        typed=False,
    ),
    ".NET": form(
        (b"name=image_file; filename=ball.png; filename*=utf-8''ball.png", TO_SEE),
        (b"name=size\r\nContent-Type: text/plain; charset=utf-8", b"auto"),
        quoted=True,
    ),
    "a form of a page": form(
        file(PNG),
        (b'name="bg_image_file"; filename=""\r\nContent-Type: application/octet-stream', b""),
        *named(image_url="", size="full"),
    ),
    "JSON with a data URL": Shape(
        lambda _: dumps({"image_file_b64": f"data:image/png;base64,{BASE64}", "size": "full", "crop": None}).encode(),
        f"{JSON}; charset=utf-8",
        WANTED,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_request_as_clients_send_it(shop: Shop, name: str) -> None:
    shape = SHAPES[name]
    key = shop.token if shape.key == "Authorization" else shop.key
    with pictures() as there:
        answer = httpx2.post(
            f"{shop.service.url}/v1.0/removebg",
            content=shape.body(f"http://127.0.0.1:{there.port}/ball.png"),
            headers={"Content-Type": shape.content_type, shape.key: key, **shape.headers},
            timeout=60,
        )
    assert answer.status_code == 200, answer.text
    told = answer.headers
    assert (int(told["X-Width"]), int(told["X-Height"])) == shape.size
    assert int(told["X-Credits-Charged"]) == 1
    assert all(f"X-{name}" in told for name in ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Task-Id"))
    assert ("X-Type" in told) is shape.typed
    data = answer.json()["data"] if shape.json else {}
    result = seen(base64.b64decode(data["result_b64"]) if shape.json else answer.content)
    assert (result.kind, result.size) == (shape.kind, shape.size)
    left, top, right, bottom = (round(edge * shape.size[0] / WIDTH) for edge in BALL)
    assert result.is_at((left, top, right, bottom))
    assert alike(result.corner[-len(shape.corner) :], shape.corner)
    assert not shape.json or abs(data["foreground_top"] - BALL[1]) <= 4


def test_no_call_is_lost_with_a_worker(shop: Shop, impatient: Deployment) -> None:
    """Fifty at once; those whose answer did not come in time are told their task, and asking again finds it."""
    images = [encoded(subject(200 + index, 160)) for index in range(CALLS)]
    with ThreadPoolExecutor(CALLS) as pool:
        calls = [pool.submit(_send, shop, image) for image in images]
        wait_for(lambda: _count(shop, "completed") >= 5, "some are done")
        impatient.kill("worker")
        with pytest.raises(httpx2.ReadTimeout):  # as clients do that wait for less long
            _send(shop, ANOTHER, seconds=1)
        answers = [call.result() for call in calls]
        impatient.start("worker")
        late = [index for index, answer in enumerate(answers) if answer.status_code == 503]
        assert late
        assert all(answer.status_code in (200, 503) for answer in answers)
        assert all(answers[index].json()["errors"][0]["code"] == "still_processing" for index in late)
        assert all("Retry-After" in answers[index].headers for index in late)
        tasks = [UUID(answer.headers["X-Task-Id"]) for answer in answers]
        assert len(set(tasks)) == CALLS
        wait_for(lambda: _count(shop, "completed") == CALLS + 1, "all are done", seconds=150)
        again = list(pool.map(lambda index: _send(shop, images[index]), late))
    assert [answer.status_code for answer in again] == [200] * len(late)
    assert [UUID(answer.headers["X-Task-Id"]) for answer in again] == [tasks[index] for index in late]
    assert _send(shop, ANOTHER).status_code == 200
    assert _count(shop, "completed") == _count(shop) == CALLS + 1


@pytest.fixture
def impatient(service: Deployment) -> Iterator[Deployment]:
    """The service, where no answer waits for long."""

    def start_anew() -> None:
        service.stop("api")
        service.start("api")
        service.wait_healthy()

    service.environment["DROP_IN_WAIT_SECONDS"] = "4"
    start_anew()
    yield service
    del service.environment["DROP_IN_WAIT_SECONDS"]
    start_anew()


def _send(shop: Shop, image: bytes, seconds: float = 90) -> httpx2.Response:
    url, key = f"{shop.service.url}/v1.0/removebg", {"X-Api-Key": shop.key}
    return httpx2.post(url, files={"image_file": ("photo.jpg", image)}, headers=key, timeout=seconds)


def _count(shop: Shop, *status: str) -> int:
    url = f"{shop.service.url}/api/v1/tasks"
    answer = httpx2.get(url, params={"limit": 100, "status": status}, headers={"X-API-Key": shop.key}, timeout=30)
    return len(answer.json()["tasks"])
