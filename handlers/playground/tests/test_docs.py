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
