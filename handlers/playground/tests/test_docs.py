"""The pages of the API."""

import re
from collections.abc import Callable

import httpx
import pytest

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.host import Host
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.service import Service
from maskrcnn_playground.docs import DocsRoutes
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings


@pytest.fixture
def docs(
    service: Service, settings: Settings, connect: Callable[[App], httpx.Client]
) -> httpx.Client:
    plugins = Plugins()
    host = Host(service, plugins.formats(), plugins, settings)
    management = ModelManagement(service.models)
    return connect(App(service, management, 4, DocsRoutes().routes(host)))


def test_the_page_and_all_that_it_names_is_served(docs: httpx.Client) -> None:
    page = docs.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    needed = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(needed) == 4
    for name in (*needed, "openapi.json"):
        assert docs.get(f"/{name}").status_code == 200, name


@pytest.mark.parametrize("name", ["index.html", "swagger-ui.js.map", "..%2f__init__.py"])
def test_nothing_else_is(docs: httpx.Client, name: str) -> None:
    assert docs.get(f"/docs/{name}").status_code == 404


def test_the_page_may_load_and_ask_this_server_alone(docs: httpx.Client) -> None:
    policy = docs.get("/docs").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "//" not in docs.get("/docs").text


def test_redoc_leads_to_the_page(docs: httpx.Client) -> None:
    reply = docs.get("/redoc")
    assert (reply.status_code, reply.headers["location"]) == (307, "docs")


def test_openapi_describes_the_request(docs: httpx.Client) -> None:
    schema = docs.get("/openapi.json").json()
    content = schema["paths"]["/invocations"]["post"]["requestBody"]["content"]
    assert {"image/jpeg", "image/png", "application/x-npy"} <= set(content)
    one, several = content["application/json"]["schema"]["oneOf"]
    form = content["multipart/form-data"]["schema"]
    assert set(one["required"]) == {"img_id", "img_data"}
    assert several["required"] == ["instances"]
    assert several["properties"]["instances"]["items"]["required"] == ["img_id", "img_data"]
    assert form["required"] == ["image"]
    for fields in (one, several, form):
        assert {"classes", "rle", "format"} <= set(fields["properties"])
        assert all("description" in field for field in fields["properties"].values())
    assert "$ref" not in str(content)


def test_openapi_has_every_route_and_what_its_path_names(docs: httpx.Client) -> None:
    paths = docs.get("/openapi.json").json()["paths"]
    assert {path: sorted(methods) for path, methods in paths.items()} == {
        "/ping": ["get"],
        "/metrics": ["get"],
        "/invocations": ["post"],
        "/endpoints/{endpoint}/invocations": ["post"],
        "/models/{name}/invoke": ["post"],
        "/models/{name}/invocations": ["post"],
        "/execution-parameters": ["get"],
        "/models": ["get", "post"],
        "/models/{name}": ["delete", "get"],
    }
    operations = [one for methods in paths.values() for one in methods.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    for path, methods in paths.items():
        for operation in methods.values():
            in_path = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
            assert in_path == re.findall(r"{(\w+)}", path)
            assert operation["description"]
