"""Who may ask: the API key, pages of other sites, and the names that the server goes by."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from maskrcnn_handlers.http.access import Access
from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.service import Service
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.hosting.models import ACTIVATIONS, Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings

KEY = "correct-horse"
ROUTES = (
    ("POST", "/invocations"),
    ("POST", "/endpoints/any/invocations"),
    ("POST", "/models/a/invocations"),
    ("POST", "/models/a/invoke"),
    ("GET", "/models"),
    ("POST", "/models"),
    ("GET", "/models/a"),
    ("DELETE", "/models/a"),
    ("GET", "/metrics"),
    ("GET", "/execution-parameters"),
    ("GET", "/nowhere"),
)
FORM = {"Content-Type": "text/plain"}
"""Content type that a form of another site may send without asking."""

Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(settings: Settings, tmp_path: Path, connect: Callable[[App], httpx.Client]) -> Serve:
    """Makes clients of a multi-model server with this access, whose model `a` can be loaded."""
    (tmp_path / "a").mkdir()

    def load(folder: Path) -> Scheduler:
        return Scheduler(FakeBackend().load(ModelConfig(model_dir=folder)), max_waiting=4)

    def served(**access: object) -> httpx.Client:
        models = Models(load, tmp_path, 2 * ACTIVATIONS, evicts=False)
        service = Service(Plugins().formats(), settings, models)
        management = ModelManagement(models)
        return connect(App(service, management, 4, access=Access(**access)))  # type: ignore[arg-type]

    return served


def loads(client: httpx.Client, folder: Path, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = f'{{"model_name": "a", "url": "{folder / "a"}"}}'
    return client.post("/models", content=body, headers=FORM | named)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "given", [None, "Bearer wrong", "Bearer", f"Basic {KEY}", KEY, f"Bearer {KEY}\u00e9"]
)
def test_every_route_needs_the_key(serve: Serve, method: str, path: str, given: str | None) -> None:
    headers = [] if given is None else [(b"Authorization", given.encode("latin-1"))]
    reply = serve(api_key=KEY).request(method, path, headers=headers)
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert reply.json()["error"]["code"] == "unauthorized"
    assert reply.json()["request_id"] == reply.headers["X-Request-Id"]
    assert KEY not in reply.text


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_key_opens_every_route(serve: Serve, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    assert serve(api_key=KEY).request(method, path, headers=headers).status_code != 401


def test_the_health_check_needs_no_key(serve: Serve) -> None:
    assert serve(api_key=KEY).get("/ping").status_code == 200


def test_a_form_of_another_site_loads_no_model(serve: Serve, tmp_path: Path) -> None:
    client = serve()
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://test:8081"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        reply = loads(client, tmp_path, **headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "origin_refused")
    assert client.get("/models").json() == {"models": []}


def test_a_form_of_another_site_unloads_no_model(serve: Serve, tmp_path: Path) -> None:
    client = serve()
    assert loads(client, tmp_path).status_code == 200
    headers = {"Origin": "https://evil.example"}
    assert client.delete("/models/a", headers=headers).status_code == 403
    assert client.get("/models/a").status_code == 200


def test_a_name_that_another_site_points_here_loads_no_model(serve: Serve, tmp_path: Path) -> None:
    rebound = {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}
    reply = loads(serve(), tmp_path, **rebound)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "origin_refused")
    assert "MASKRCNN_ALLOWED_HOSTS" in reply.json()["error"]["message"]
    assert loads(serve(hosts=("evil.example",)), tmp_path, **rebound).status_code == 200


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "a.localhost"])
def test_the_servers_own_pages_load_models(serve: Serve, tmp_path: Path, host: str) -> None:
    own = {"Host": host, "Origin": f"http://{host}", "Sec_Fetch_Site": "same-origin"}
    assert loads(serve(), tmp_path, **own).status_code == 200


def test_other_sites_may_ask_only_if_the_settings_say_so(serve: Serve, tmp_path: Path) -> None:
    origin = {"Origin": "https://a.example"}
    preflight = {**origin, "Access-Control-Request-Method": "POST"}
    closed, opened = serve(), serve(api_key=KEY, origins=("https://a.example",))
    assert "Access-Control-Allow-Origin" not in closed.get("/ping", headers=origin).headers
    assert closed.options("/models", headers=preflight).status_code == 405
    assert opened.options("/models", headers=preflight).status_code == 200
    reply = loads(opened, tmp_path, **origin, Authorization=f"Bearer {KEY}")
    assert reply.status_code == 200
    assert reply.headers["Access-Control-Allow-Origin"] == "https://a.example"
    other = opened.get("/ping", headers={"Origin": "https://b.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_every_site_may_ask_but_not_load(serve: Serve, tmp_path: Path) -> None:
    client = serve(origins=("*",))
    reply = client.get("/models", headers={"Origin": "https://a.example"})
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert loads(client, tmp_path, Origin="https://a.example").status_code == 403


def test_a_bad_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_API_KEY", "two words")
    with pytest.raises(InvalidSetting, match=r"^MASKRCNN_API_KEY=\*\*\*: ") as refused:
        environment.read()
    assert "two words" not in refused.value.message


def test_settings_do_not_show_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_API_KEY", KEY)
    settings = environment.read()
    assert Access.of(settings).api_key == KEY
    assert KEY not in repr(settings) + str(settings) + settings.model_dump_json()
    assert KEY not in repr(Access.of(settings))
