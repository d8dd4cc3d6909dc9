"""The command and the routes on the page *Plugins* work."""

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import PIL.Image
from starlette.applications import Starlette
from typer import Typer
from typer.testing import CliRunner

PAGE = (Path(__file__).parents[1] / "docs/plugins.md").read_text()


def registered(title: str, hook: str) -> Any:
    """What the module of a section of the page registers."""
    pattern = rf"^## {title}\n(?:(?!^## ).)*?^```python\n(.*?)^```"
    (code,) = re.findall(pattern, PAGE, re.MULTILINE | re.DOTALL)
    module: dict[str, Any] = {}
    exec(compile(code, f"docs/plugins.md, {title}", "exec"), module)  # noqa: S102 (ours)
    things: list[Any] = []
    module[hook](things.append)
    (thing,) = things
    return thing


def test_the_command_prints_sizes(tmp_path: Path) -> None:
    command = registered("A command", "register_commands")
    PIL.Image.new("L", (30, 20)).save(tmp_path / "gray.png")
    app = Typer()
    app.command(command.name)(command.run)
    assert CliRunner().invoke(app, [str(tmp_path)]).output == "gray.png 30 20\n"


def test_the_route_lists_formats() -> None:
    plugin = registered("Routes", "register_routes")
    host = SimpleNamespace(formats={"coco": SimpleNamespace(media_type="application/json")})
    transport = httpx.ASGITransport(Starlette(routes=plugin.routes(host)))

    async def formats() -> Any:
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            return (await client.get("/formats")).json()

    assert asyncio.run(formats()) == {"coco": "application/json"}
