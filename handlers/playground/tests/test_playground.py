"""The playground as files and answers; what the page does with them is in test_playground_page."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.host import Host
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.service import Service
from maskrcnn_playground import playground
from maskrcnn_playground.playground import Playground
from maskrcnn_playground.routes import PlaygroundRoutes, mounted
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Demo
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings

ROOT = Path(__file__).parents[3]
FILES = Path(playground.__file__).parent / "static"
PARTS = sorted(p.name for p in FILES.iterdir() if p.suffix in (".css", ".js", ".svg"))


@pytest.fixture
def page(
    service: Service,
    settings: Settings,
    connect: Callable[[App], httpx.Client],
    png: bytes,
    tmp_path: Path,
) -> httpx.Client:
    """A client of a server with the playground, and two samples, one of which browsers show."""
    shown, other = tmp_path / "a.png", tmp_path / "b.tiff"
    shown.write_bytes(png)
    other.write_bytes(b"")
    demo = Demo(name="mine", backend="fake", model_dir=tmp_path, images=[other, shown])
    opened = Playground(Plugins().formats(), [demo], settings)
    return connect(App(service, ModelManagement(service.models), 4, mounted(opened)))


def test_the_page_is_at_the_root(page: httpx.Client) -> None:
    reply = page.get("/")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>maskrcnn_server</h1>" in reply.text


@pytest.mark.parametrize("name", PARTS)
def test_what_the_page_is_made_of_is_served(page: httpx.Client, name: str) -> None:
    reply = page.get(f"/playground/{name}")
    assert reply.content == (FILES / name).read_bytes()
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "__init__.py",
        "index.html",
        "..%2fasgi.py",
        "%2e%2e/asgi.py",
        "absent.js",
        "samples/1",
        "samples/-1",
        "samples/a.png",
        "photographs/NOTICE.md",
        "photographs/..%2fstatic%2fpage.js",
        "samples/..%2f..%2fetc%2fpasswd",
        f"samples/{'9' * 5000}",
    ],
)
def test_nothing_else_is(page: httpx.Client, path: str) -> None:
    reply = page.get(f"/playground/{path}")
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "invalid_request"


def test_the_page_is_told_what_it_has_to_know(page: httpx.Client) -> None:
    told = page.get("/playground/server.json").json()
    assert told["formats"] == {n: f.media_type for n, f in Plugins().formats().items()}
    assert told["format"] == "sagemaker"
    assert told["max_payload_mb"] == 1
    assert told["samples"] == ["a.png"]


def test_a_sample_is_its_file(page: httpx.Client, png: bytes) -> None:
    reply = page.get("/playground/samples/0")
    assert (reply.content, reply.headers["content-type"]) == (png, "image/png")


@pytest.mark.parametrize("name", ["astronaut.jpg", "chelsea.jpg"])
def test_photographs_are_served(page: httpx.Client, name: str) -> None:
    reply = page.get(f"/playground/photographs/{name}")
    assert reply.headers["content-type"] == "image/jpeg"
    assert name in page.get("/playground/server.json").json()["photographs"]


def test_the_icon_is_the_logo() -> None:
    assert (FILES / "icon.svg").read_bytes() == (ROOT / "docs/logo.svg").read_bytes()


def test_the_page_may_load_and_ask_this_server_alone(page: httpx.Client) -> None:
    policy = page.get("/").headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert "media-src blob:" in policy  # Clips that people open; nothing is fetched for them.
    sources = {rule.split()[1] for rule in policy if "-src" in rule and "media" not in rule}
    assert sources == {"'none'", "'self'"}


def test_no_cookies(page: httpx.Client) -> None:
    for path in ("/", "/playground/server.json", "/playground/samples/0"):
        assert "set-cookie" not in page.get(path).headers


def test_without_it_the_root_is_no_route(client: httpx.Client) -> None:
    for path in ("/", "/playground/page.js", "/playground/server.json"):
        reply = client.get(path)
        assert reply.status_code == 404
        assert reply.json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, True),
        ({"MASKRCNN_PLAYGROUND": "false"}, False),
        ({"SAGEMAKER_BIND_TO_PORT": "8080"}, False),
        ({"SAGEMAKER_BATCH": "true"}, False),
        ({"SAGEMAKER_BATCH": ""}, True),
        ({"SAGEMAKER_BATCH": "true", "MASKRCNN_PLAYGROUND": "true"}, True),
    ],
    ids=lambda v: " ".join(f"{n}={t}" for n, t in v.items()) if isinstance(v, dict) else str(v),
)
def test_sagemaker_gets_no_page_unless_somebody_says_so(
    variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings, plugins = environment.read(), Plugins()
    formats = plugins.formats()
    host = Host(Service(formats, settings, Models.single()), formats, plugins, settings)
    assert bool(PlaygroundRoutes().routes(host)) == expected
