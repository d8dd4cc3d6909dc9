"""Images by their addresses: what hostile servers and clients get."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest

from maskrcnn_protocols.allowed import Allowed, is_public
from maskrcnn_protocols.fetching import Fetcher, NotFetched
from maskrcnn_server.errors import InvalidSetting, MaskRCNNError, PayloadTooLarge, RequestError

if TYPE_CHECKING:
    from protocol_fixtures import Served

    from maskrcnn_handlers.service import Service

LIMIT = 1 << 20


class Handler(BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, str | None]]] = []
    png = b""
    elsewhere = ""

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization")))
        name = self.path.split("/")[-1].partition("?")[0]
        getattr(self, name.replace(".png", "image"), self.image)()

    def image(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.png)))
        self.end_headers()
        self.wfile.write(self.png)

    def loop(self) -> None:
        self.redirect(self.path)

    def away(self) -> None:
        self.redirect(self.elsewhere)

    def near(self) -> None:
        self.redirect("/images/a.png")

    def inside(self) -> None:
        self.redirect("/secrets/a.png")

    def file(self) -> None:
        self.redirect("file:///etc/passwd")

    def redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    def large(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(LIMIT + 1))
        self.end_headers()

    def endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        with_zeros = b"\0" * (1 << 16)
        try:
            while True:
                self.wfile.write(with_zeros)
        except OSError:
            pass

    def slow(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.drip()

    def header(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.drip()

    def drip(self) -> None:
        try:
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            pass

    def half(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"x")

    def absent(self) -> None:
        self.send_response(404)
        self.end_headers()

    def nonsense(self) -> None:
        self.wfile.write(b"\x16\x03\x01 nothing that is HTTP\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def site(png: bytes) -> Iterator[str]:
    """A server of images, some of them hostile."""

    Handler.png = png
    Handler.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_address[1]
        Handler.elsewhere = f"http://localhost:{port}/images/a.png"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{port}"
        server.shutdown()
        thread.join()


def fetcher(*prefixes: str, private: bool = True, timeout_s: float = 5) -> Fetcher:
    return Fetcher(Allowed(prefixes), max_bytes=LIMIT, timeout_s=timeout_s, private=private)


def test_an_allowed_image_is_fetched(site: str, png: bytes) -> None:
    found = fetcher(f"{site}/images/").fetch(f"{site}/images/a.png?key=1", {"Authorization": "T"})
    assert found == png
    assert Handler.seen == [("/images/a.png?key=1", "T")]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/images/large", "larger than 1 MiB"),
        ("/images/endless", "larger than 1 MiB"),
        ("/images/loop", "more than 3 redirects"),
        ("/images/away", "the server fetches no images from there"),
        ("/images/inside", "the server fetches no images from there"),
        ("/images/file", "begins with https://"),
        ("/images/half", "IncompleteRead"),
        ("/images/absent", "answers 404"),
        ("/images/nonsense", "BadStatusLine"),
        ("/secrets/a.png", "the server fetches no images from there"),
        ("/images/../secrets/a.png", "dots"),
        ("/images/%2e%2e/secrets/a.png", "dots"),
        ("/images/a\r\nX: y", "not an address"),
    ],
)
def test_what_is_not_allowed_is_refused(site: str, path: str, said: str) -> None:
    with pytest.raises(MaskRCNNError, match=said):
        fetcher(f"{site}/images/").fetch(site + path)
    assert not [seen for seen, _ in Handler.seen if "secrets" in seen]


@pytest.mark.parametrize("name", ["slow", "header"])
def test_a_server_that_drips_is_cut_off(site: str, name: str) -> None:
    start = time.monotonic()
    with pytest.raises(NotFetched, match=r"not within 0.5 s"):
        fetcher(site, timeout_s=0.5).fetch(f"{site}/{name}")
    assert time.monotonic() - start < 3


def test_a_handshake_that_drips_is_cut_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        start = time.monotonic()
        with pytest.raises(NotFetched, match=r"not within 0.5 s"):
            fetcher(f"https://127.0.0.1:{port}", timeout_s=0.5).fetch(f"https://127.0.0.1:{port}/a")
        assert time.monotonic() - start < 3


def test_a_redirect_within_what_is_allowed_is_followed_without_the_token_of_another(
    site: str, png: bytes
) -> None:
    assert fetcher(f"{site}/images/").fetch(f"{site}/images/near", {"Authorization": "T"}) == png
    last = list(Handler.seen)[-1]
    assert last == ("/images/a.png", "T")
    both = fetcher(f"{site}/images/", Handler.elsewhere)
    assert both.fetch(f"{site}/images/away", {"Authorization": "T"}) == png
    assert Handler.seen[-1] == ("/images/a.png", None)


def test_private_addresses_are_refused_before_a_connection(site: str) -> None:
    with pytest.raises(NotFetched, match="leads to a private network"):
        fetcher(site, private=False).fetch(f"{site}/images/a.png")
    assert Handler.seen == []


def test_a_name_is_looked_up_once(site: str, png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere at the second look (DNS rebinding) changes nothing."""
    real, asked = socket.getaddrinfo, []

    def rebinding(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host != "images.example":
            return real(host, port, *args, **options)
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "127.0.0.2", port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    port = site.rsplit(":", 1)[1]
    url = f"http://images.example:{port}"
    assert fetcher(url).fetch(f"{url}/a.png") == png
    assert len(asked) == 1


def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", (ip, 80)) for ip in ("93.184.215.14", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(NotFetched, match="private"):
        fetcher("http://a.example", private=False).fetch("http://a.example/a.png")


def test_the_certificate_has_to_be_the_names(site: str) -> None:
    """A server without TLS is no server of https."""
    url = site.replace("http:", "https:")
    with pytest.raises(NotFetched, match=ssl.SSLError.__name__):
        fetcher(url).fetch(f"{url}/a.png")


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1
    255.255.255.255 ::1 :: fe80::1 fc00::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::
    2001:0:4136:e378:8000:63bf:3fff:fdd2""".split(),
)
def test_no_private_address_is_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/x",
        "file:///etc/passwd",
        "//a.example/x",
        "https://a.example@b.example/x",
        "https://a.example:x/",
        "https://a.example\\@b.example/",
        "https://\u0430.example/",
        "https:///x",
        "https://[::1/",
        "https://a.example/" + "x" * 5000,
    ],
)
def test_an_address_that_is_read_in_two_ways_is_none(url: str) -> None:
    with pytest.raises(RequestError):
        Allowed(["https://a.example/"]).check(url)


@pytest.mark.parametrize(
    ("prefix", "url", "expected"),
    [
        ("https://a.example", "https://a.example/x", True),
        ("https://a.example", "https://a.example:443/x", True),
        ("https://a.example", "https://A.EXAMPLE/x", True),
        ("https://a.example", "https://a.example:444/x", False),
        ("https://a.example", "http://a.example/x", False),
        ("https://a.example", "https://a.example.evil/x", False),
        ("https://a.example/one", "https://a.example/one/x", True),
        ("https://a.example/one", "https://a.example/onetwo/x", False),
        ("s3://bucket", "s3://bucket/key", True),
        ("s3://bucket/a/", "s3://bucket/ab", False),
        ("s3://bucket", "s3://other/key", False),
    ],
)
def test_addresses_begin_with_what_is_allowed(prefix: str, url: str, *, expected: bool) -> None:
    try:
        Allowed([prefix]).check(url)
    except RequestError:
        assert not expected
    else:
        assert expected


def test_a_setting_that_is_no_address_is_named() -> None:
    with pytest.raises(InvalidSetting, match=r"PROTOCOLS_IMAGE_ADDRESSES: 'a\.example'"):
        Allowed(["a.example"])


@pytest.mark.usefixtures("aws")
def test_an_object_is_fetched_from_s3(png: bytes) -> None:
    import boto3

    client = boto3.client("s3")
    client.put_object(Bucket="models", Key="a/b.png", Body=png)
    client.put_object(Bucket="models", Key="a/large", Body=b"x" * (LIMIT + 1))
    assert fetcher("s3://models/a/").fetch("s3://models/a/b.png") == png
    with pytest.raises(PayloadTooLarge):
        fetcher("s3://models/a/").fetch("s3://models/a/large")
    with pytest.raises(NotFetched, match=r"ClientError|NoSuchKey"):
        fetcher("s3://models/a/").fetch("s3://models/a/absent")


@pytest.fixture
def open_for(serve: Callable[..., Served], service: Service, site: str) -> Served:
    """A server that fetches images from the site."""
    variables = {"PROTOCOLS_IMAGE_ADDRESSES": f"{site}/images/"}
    return serve(service, **variables, PROTOCOLS_PRIVATE_ADDRESSES="true")


def test_an_address_stands_for_the_image(open_for: Served, site: str, png: bytes) -> None:
    address = f"{open_for.url}/invocations"
    data = {"img_id": "a", "img_data": base64.b64encode(png).decode()}
    expected = httpx.post(address, json=data).json()
    found = httpx.post(address, json={"img_id": "a", "img_url": f"{site}/images/a.png"}).json()
    assert found == expected
    asked = {"instances": [{"img_url": f"{site}/images/a.png"}, data], "score_threshold": 0.1}
    first, second = httpx.post(address, json=asked).json()["predictions"]
    assert first == expected | {"img_id": f"{site}/images/a.png"}
    assert second == expected
    lines = json.dumps({"img_id": "a", "img_url": f"{site}/images/a.png"})
    kind = {"Content-Type": "application/jsonlines"}
    assert httpx.post(address, content=lines, headers=kind).json() == expected


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"img_url": "http://127.0.0.1:1/images/a.png"}, 400, "invalid_request"),
        ({"img_url": "SITE/images/absent"}, 400, "image_not_fetched"),
        ({"img_url": "SITE/images/large"}, 413, "payload_too_large"),
        ({"img_url": "SITE/images/a.png", "img_data": "aaaa"}, 400, "invalid_request"),
        ({"img_url": 1}, 400, "invalid_request"),
    ],
    ids=["elsewhere", "absent", "large", "both", "no text"],
)
def test_an_error_is_of_this_server(
    open_for: Served, site: str, fields: dict[str, Any], status: int, code: str
) -> None:
    asked = json.loads(json.dumps({"img_id": "a", **fields}).replace("SITE", site))
    reply = httpx.post(f"{open_for.url}/invocations", json=asked)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_it_is_off_by_default(served: Served, site: str) -> None:
    asked = {"img_id": "a", "img_url": f"{site}/images/a.png"}
    reply = httpx.post(f"{served.url}/invocations", json=asked)
    assert (reply.status_code, Handler.seen) == (400, [])
    assert "PROTOCOLS_IMAGE_ADDRESSES" in reply.json()["error"]["message"]
