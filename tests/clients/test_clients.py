"""Published clients of remove.bg, unchanged but for the address: every option and every way of theirs."""

import base64
from typing import Any

import numpy as np
import pytest

from tests.clients.pictures import (
    BALL,
    HEIGHT,
    LARGE,
    TEAL,
    TO_SEE,
    WIDTH,
    Seen,
    alike,
    as_large_as_may_be,
    mask_box,
    seen,
)
from tests.clients.running import Shop, pictures

pytestmark = pytest.mark.xdist_group("e2e")

BASE64 = base64.b64encode(TO_SEE).decode()
WHOLE, PREVIEW, CLEAR = (WIDTH, HEIGHT), (577, 433), (0, 0, 0, 0)
BALL_SIZE = (BALL[2] - BALL[0], BALL[3] - BALL[1])
WRONG_KEY = "qbg_00000000_" + "x" * 43


def is_cut_out(result: Seen, size: tuple[int, int] = WHOLE, kind: str = "PNG") -> bool:
    """The ball is where it was, at the result's scale, and all else is transparent."""
    left, top, right, bottom = (round(edge * size[0] / WIDTH) for edge in BALL)
    told = (result.kind, result.size, result.corner[3])
    return told == (kind, size, 0) and result.is_at((left, top, right, bottom))


def test_removebg(shop: Shop) -> None:
    with pictures() as there:
        url = f"http://127.0.0.1:{there.port}/ball.png"
        outcomes = shop.python(
            "removebg",
            ("remove_background_from_img_file", {"img_file_path": "ball.png"}),
            ("remove_background_from_img_url", {"img_url": url, "size": "hd", "bg_color": "red"}),
            ("remove_background_from_base64_img", {"base64_img": BASE64, "size": "4k", "new_file_name": "b.png"}),
            ("remove_background_from_img_file", {"img_file_path": "note.png"}),
            ("remove_background_from_img_url", {"img_url": f"{url}.missing"}),
        )
    assert outcomes[:3] == [{"returned": None}] * 3
    assert all("400 Client Error" in outcome["raised"] for outcome in outcomes[3:])
    assert is_cut_out(seen(shop.read("ball.png_no_bg.png")), PREVIEW)
    red = seen(shop.read("no-bg.png"))
    assert (red.kind, red.size, red.is_at(BALL)) == ("JPEG", WHOLE, True)
    assert alike(red.corner, (255, 0, 0, 255))
    assert is_cut_out(seen(shop.read("b.png")))
    (refused,) = shop.python(
        "removebg", ("remove_background_from_img_file", {"img_file_path": "ball.png"}), key=WRONG_KEY
    )
    assert "403 Client Error" in refused["raised"]


def test_remove_bg_api(shop: Shop) -> None:
    """It asks for the account first, and reads the credits as a whole number."""
    data = {"size": "full", "format": "zip", "type": "product"}
    with pictures() as there:
        url = f"http://127.0.0.1:{there.port}/ball.png"
        file, written, url_, base64_, balance, told, free, wrong = shop.python(
            "remove_bg_api",
            ("remove_bg_bytes", {"input_bytes": {"bytes": BASE64}}),
            ("remove_bg_file", {"input_path": "ball.png", "raw": False, "out_path": "w.png", "size": "auto"}),
            ("remove_bg_url", {"input_url": url, "data": data}),
            ("remove_bg_base64", {"input_base64": BASE64, "data": {"size": "hd", "crop": "true"}}),
            ("account.balance", {}),
            ("account.get_balance_dict", {}),
            ("account.free_api_calls", {}),
            ("remove_bg_file", {"input_path": "note.png"}),
        )
    assert is_cut_out(_bytes(file), PREVIEW)
    assert written == {"returned": "w.png"}
    assert is_cut_out(seen(shop.read("w.png")))
    assert is_cut_out(_bytes(url_), kind="ZIP")
    assert _near(_bytes(base64_).size, BALL_SIZE)
    credits_ = told["returned"]
    assert set(credits_) == {"subscription", "payg", "enterprise", "total"}
    assert balance["returned"] == credits_["total"] - 4 or credits_["total"] > 100_000
    assert isinstance(free["returned"], int)
    assert "ApiErrorCode400" in wrong["raised"]
    (refused,) = shop.python("remove_bg_api", key=WRONG_KEY)
    assert "ApiErrorCode403" in refused["raised"]


def test_rembgpy(shop: Shop) -> None:
    """It sends every parameter with every call, and a bare 0 for the region of interest."""
    options: list[dict[str, Any]] = [
        {"size": "full"},
        {"size": "auto", "type": "product", "type_level": "latest", "format": "png", "shadow": True},
        {"size": "medium", "crop": "50px", "semitransparency": False},
        {"size": "4k", "scale": "50%", "position": "10% 20%"},
        {"size": "hd", "roi": "0 0 300px 100%"},
        {"size": "full", "format": "jpg", "bg_type": "color", "bg": "81d4fa"},
        {"size": "full", "channels": "alpha", "format": "png"},
        {"size": "full", "format": "zip"},
    ]
    with pictures() as there:
        base = f"http://127.0.0.1:{there.port}"
        background = {"size": "full", "bg_type": "url", "bg": f"{base}/wall.png"}
        calls = [("remove_b64", {"base64_img": BASE64, **each}) for each in options]
        calls += [("remove_img", {"img_url": f"{base}/ball.png", **background})]
        named = [(name, {**each, "nfn": f"{index}"}) for index, (name, each) in enumerate(calls)]
        assert shop.python("rembgpy", *named) == [{"returned": "[*] Process finished."}] * len(named)
    whole, typed, cropped, placed, region, blue, mask, packed, wall = (seen(shop.read(f"{i}")) for i in range(9))
    assert is_cut_out(whole)
    assert is_cut_out(typed)
    assert _near(cropped.size, (BALL_SIZE[0] + 100, BALL_SIZE[1] + 100))
    assert (placed.size, placed.is_at((50, 60, 350, 360))) == (WHOLE, True)
    assert region.is_at((*BALL[:2], 300, BALL[3]))
    assert (blue.kind, blue.size) == ("JPEG", WHOLE)
    assert alike(blue.corner, (0x81, 0xD4, 0xFA, 255))
    assert (mask.mode, mask.size, mask.corner) == ("L", WHOLE, (0, 0, 0, 255))
    assert _near(mask_box(mask), BALL)
    assert is_cut_out(packed, kind="ZIP")
    assert (wall.size, wall.is_at(BALL)) == (WHOLE, True)
    assert alike(wall.corner, (*TEAL, 255))


def test_removebgplus(shop: Shop) -> None:
    """Its base64 goes under a name that remove.bg did not know either."""
    with pictures() as there:
        url = f"http://127.0.0.1:{there.port}/ball.png"
        file, address, unknown = shop.python(
            "removebgplus",
            ("remove_from_file", {"input_path": "ball.png", "output_path": "f.png"}),
            ("remove_from_url", {"url": url, "output_path": "u.png"}),
            ("remove_from_base64", {"base64_string": BASE64, "output_path": "b.png"}),
        )
    assert (file, address) == ({"returned": "f.png"}, {"returned": "u.png"})
    assert is_cut_out(seen(shop.read("f.png")))
    assert is_cut_out(seen(shop.read("u.png")))
    assert unknown["raised"].startswith("APIError('400 - ")
    assert "missing_source" in unknown["raised"]


def test_removd(shop: Shop) -> None:
    """It streams JSON, and reads the form of the result off its content type."""
    (shop.folder / "ball.txt").write_text(f"data:image/png;base64,{BASE64}")
    asked = {"apikey": shop.key, "source": "ball.png"}
    with pictures() as there:
        url = f"http://127.0.0.1:{there.port}/ball.png"
        outcomes = shop.node(
            "removd",
            ("file", {**asked, "destination": "f.png", "size": "small"}),
            ("file", {**asked, "destination": "j.png", "size": "auto", "format": "jpg", "background": "#81d4fa"}),
            ("file", {**asked, "destination": "m.png", "size": "hd", "channels": "alpha", "detect": "product"}),
            ("file", {**asked, "destination": "p.png", "preserve": True}),
            (
                "url",
                {
                    **asked,
                    "source": url,
                    "destination": f"{shop.folder}/u.png",
                    "size": "4k",
                    "background": "rgba(255,0,0,0.5)",
                },
            ),
            ("base64", {**asked, "source": "ball.txt", "destination": "b.png", "toImage": True}),
            ("base64", {**asked, "source": "ball.txt", "destination": "t.txt"}),
            ("account", {"apikey": shop.key, "api_key": shop.key}),
            ("file", {**asked, "apikey": WRONG_KEY}),
            (
                "url",
                {
                    **asked,
                    "source": url,
                    "destination": f"{shop.folder}/x.png",
                    "size": "hd",
                    "background": "rgb(1,2,3)",
                },
            ),
        )
    told = [outcome["returned"] for outcome in outcomes]
    assert is_cut_out(seen(shop.read("f.png")), PREVIEW)
    assert (told[0]["charged"], told[0]["dimensions"], told[0]["resized"]) == (1, "577x433", True)
    blue = seen(shop.read(told[1]["destination"]))
    assert (blue.size, alike(blue.corner, (0x81, 0xD4, 0xFA, 255))) == (WHOLE, True)
    assert (seen(shop.read("m.png")).mode, told[2]["dimensions"]) == ("L", "800x600")
    assert told[2]["detected"]
    assert is_cut_out(seen(shop.read("p.png")))
    assert alike(seen(shop.read("u.png")).corner, (255, 0, 0, 128))
    assert is_cut_out(seen(shop.read("b.png")))
    text = shop.read("t.txt").decode()
    assert text.startswith("data:image/png;base64,")
    assert is_cut_out(seen(base64.b64decode(text.partition(",")[2])))
    assert set(told[7]) == {"credits", "api"}
    assert told[8] == {"error": "API Key invalid", "source": "ball.png"}
    assert seen(shop.read(told[9]["destination"])).corner[3] == 255


def test_removd_in_batches(shop: Shop) -> None:
    (shop.folder / "out").mkdir()
    asked = {"apikey": shop.key, "source": ["ball.png", "wall.png", "note.png"], "destination": "out/"}
    ball, wall, note = shop.node("removd", ("file", asked))[0]["returned"]
    assert is_cut_out(seen((shop.folder / "out" / "ball.png").read_bytes()))
    assert (wall["source"], wall["error"][:29]) == ("wall.png", "Could not identify foreground")
    assert note["source"] == "note.png"  # which it finds out by itself
    assert ball["size"] == "medium"


def test_remove_bg_of_npm(shop: Shop) -> None:
    """It asks for JSON, whatever it sends."""
    asked = {"apiKey": shop.key, "size": "full"}
    by_file, by_url, by_text = (f"removeBackgroundFromImage{way}" for way in ("File", "Url", "Base64"))
    file = {**asked, "path": "ball.png"}
    text = {**asked, "base64img": BASE64}
    with pictures() as there:
        base = f"http://127.0.0.1:{there.port}"
        outcomes = shop.node(
            "remove.bg",
            (by_file, {"apiKey": shop.key, "path": "ball.png", "outputFile": "f.png", "type": "person"}),
            (by_file, {**file, "crop": True, "crop_margin": "10px 20px"}),
            (by_file, {**file, "scale": "50%"}),
            (by_url, {**asked, "url": f"{base}/ball.png", "roi": "0% 0% 300px 600px", "add_shadow": True}),
            (by_text, {**text, "bg_color": "ff000080", "position": "center"}),
            (by_text, {**text, "bg_image_url": f"{base}/wall.png"}),
            (by_file, {**file, "channels": "alpha"}),
            (by_file, {**file, "apiKey": WRONG_KEY}),
            (by_file, {**file, "path": "note.png"}),
            (by_text, {**text, "size": "huge"}),
        )
    told = [outcome["returned"] for outcome in outcomes[:7]]
    results = [seen(base64.b64decode(each["base64img"])) for each in told]
    assert is_cut_out(results[0], PREVIEW)
    assert is_cut_out(seen(shop.read("f.png")), PREVIEW)
    assert (told[0]["creditsCharged"], told[0]["resultWidth"], told[0]["resultHeight"]) == ("1", "577", "433")
    assert told[0]["detectedType"]
    assert int(told[0]["rateLimitRemaining"]) < int(told[0]["rateLimit"]) == 6000
    assert int(told[0]["rateLimitReset"]) > 1_700_000_000
    assert _near(results[1].size, (BALL_SIZE[0] + 40, BALL_SIZE[1] + 20))
    assert results[2].is_at((250, 150, 550, 450))
    assert results[3].is_at((*BALL[:2], 300, BALL[3]))
    assert alike(results[4].corner, (255, 0, 0, 128))
    assert results[4].is_at((300, 200, 500, 400))
    assert alike(results[5].corner, (*TEAL, 255))
    assert _near(mask_box(results[6]), BALL)
    wrong_key, no_picture, wrong_size = (outcome["raised"] for outcome in outcomes[7:])
    assert (wrong_key[0]["title"], wrong_key[0]["code"]) == ("API Key invalid", "auth_failed")
    assert no_picture[0]["title"] == "Invalid file type"
    assert (wrong_size[0]["title"], wrong_size[0]["code"]) == ("Invalid value for parameter 'size'", "invalid_size")


def test_pictures_as_large_as_may_be(shop: Shop) -> None:
    """A file and its base64, in a form of parts, in an urlencoded one, and in streamed JSON."""
    picture = as_large_as_may_be()
    (shop.folder / "large.png").write_bytes(picture)
    text = base64.b64encode(picture).decode()
    written = {"new_file_name": "b.png", "size": "hd"}
    outcomes = shop.python(
        "removebg",
        ("remove_background_from_img_file", {"img_file_path": "large.png", "size": "4k"}),
        ("remove_background_from_base64_img", {"base64_img": text, **written}),
    )
    assert outcomes == [{"returned": None}] * 2
    told = shop.node(
        "removd", ("file", {"apikey": shop.key, "source": "large.png", "destination": "n.png", "size": "4k"})
    )
    assert told[0]["returned"]["dimensions"] == f"{LARGE}x{LARGE}"
    whole, hd, streamed = (seen(shop.read(name)) for name in ("large.png_no_bg.png", "b.png", "n.png"))
    assert (whole.size, streamed.size) == ((LARGE, LARGE), (LARGE, LARGE))
    assert np.array_equal(whole.pixels, streamed.pixels)
    assert 3_980_000 < hd.size[0] * hd.size[1] <= 4_000_000


def _bytes(outcome: dict[str, Any]) -> Seen:
    return seen(base64.b64decode(outcome["returned"]["bytes"]))


def _near(here: tuple[int, ...], there: tuple[int, ...]) -> bool:
    return all(abs(one - other) <= 8 for one, other in zip(here, there, strict=True))
