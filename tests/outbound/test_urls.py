"""What is a URL of ours, read once and in one way."""

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.outbound.urls import MAX_LENGTH, InvalidUrl, filename_of, join, port_of, read_url


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("http://example.com", "example.com", 80),
        ("HTTPS://EXAMPLE.com:443/a?b#c", "example.com", 443),
        ("https://bücher.example/ä", "xn--bcher-kva.example", 443),
        ("http://a_b.example.:8080/", "a_b.example.", 8080),
        ("http://[2606:4700::1111]/", "2606:4700::1111", 80),
        ("http://2130706433/", "2130706433", 80),
        ("http://127.0.0.1:80/", "127.0.0.1", 80),
    ],
)
def test_reads(text: str, host: str, port: int) -> None:
    url = read_url(text)
    assert (url.raw_host.decode(), port_of(url)) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            "example.com/a.png",
            "//example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://",
            "http:///a",
        ),
        *("http://u@example.com/", "http://u:p@example.com/", "http://@:80/", "http://:p@example.com/"),
        *(
            "http://a b.example/",
            "http://a..example/",
            "http://.example/",
            "http://a%41.example/",
            "http://-\\.example/",
        ),
        *("http://example.com:0/", "http://example.com:65536/", "http://example.com:-1/", "http://example.com:x/"),
        *("http://[::1%25lo]/", "http://[::1/", "http://256.1.1.1/", "http://0177.0.0.1/", "http://①.②.③.④/"),
        *("http://example.com/\n", "http://example.com/\x00", " http://example.com/", "http://\ud800.example/"),
        f"http://{'a' * 64}.example/",
        f"http://example.com/{'a' * MAX_LENGTH}",
        f"http://{'a.' * 128}example/",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        read_url(text)
    assert caught.value.code == "invalid_url"
    with pytest.raises(InvalidUrl):
        filename_of(text)


@given(st.text(max_size=80) | st.text(alphabet="ht:/\\@#?[]%0127.ax-_", max_size=40).map("http://".__add__))
@example("http://[::ffff:127.0.0.1]:443/x")
def test_whatever_is_read_is_what_the_text_of_it_says_again(text: str) -> None:
    try:
        url = read_url(text)
    except InvalidUrl:
        return
    again = read_url(str(url))
    assert (again.raw_host, port_of(again), again.raw_path) == (url.raw_host, port_of(url), url.raw_path)
    assert url.scheme in {"http", "https"}
    assert not url.userinfo
    assert url.raw_host


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("/b", "https://example.com/b"),
        ("b?c", "https://example.com/a/b?c"),
        ("//other.example/", "https://other.example/"),
        ("http://other.example:81/", "http://other.example:81/"),
    ],
)
def test_redirects_are_joined(location: str, leads: str) -> None:
    assert join(httpx2.URL("https://example.com/a/"), location) == leads


@pytest.mark.parametrize("location", ["file:///etc/passwd", "//u@other.example/", "http://[::1", "a" * 3000])
def test_redirects_to_no_url_of_ours_are_refused(location: str) -> None:
    with pytest.raises(InvalidUrl):
        join(httpx2.URL("https://example.com/a/"), location)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/a/cat.png?x=/y.jpg", "cat.png"),
        ("https://example.com/K%C3%A4se.png", "Käse.png"),
        ("https://example.com/a/", None),
        ("https://example.com", None),
        ("https://example.com/%2e%2e%2fpasswd", "../passwd"),  # bare of its path where names are cleaned
    ],
)
def test_the_name_of_a_file_is_the_last_part_of_its_path(url: str, name: str | None) -> None:
    assert filename_of(url) == name
