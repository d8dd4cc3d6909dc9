"""`maskrcnn-server demo`"""

import base64
import json
import signal
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from maskrcnn_annotation_formats.drawing import overlay
from maskrcnn_annotation_formats.reading import annotations, prediction
from maskrcnn_handlers.cli.showing import report_broken
from maskrcnn_predict.child import served
from maskrcnn_predict.inputs import read_image
from maskrcnn_predict.showing import called_as, table
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import BackendNotSelected, RequestError
from maskrcnn_server.plugins import installed

COMPUTING = ("engine", "device", "precision")
"""Settings that the demo takes from the environment."""
PLAYGROUND = "playground"
"""Name of the routes of the page at `/`."""


def demo(
    out: Annotated[Path, typer.Option(help="File for the drawing.")] = Path("demo.png"),
    image: Annotated[
        Path | None, typer.Option(help="Image to send (default: one of the demo's).")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the server running, until Ctrl-C.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--open", help="The same, and open the playground in a browser.")
    ] = False,
) -> None:
    """Serve the demo model, send it an image over HTTP, and show the result.

    The engine, the device and the precision are those of the environment.
    """
    console, settings = Console(), environment.read()
    plugins = installed()
    demos = plugins.demos()
    report_broken(console, plugins)
    if not demos:
        raise BackendNotSelected("no installed plugin brings a demo; maskrcnn-tensorpack does")
    chosen = next(iter(demos.values()))
    path = image or chosen.images[0]
    data, pixels = read_image(path, settings)
    out.parent.mkdir(parents=True, exist_ok=True)
    console.print(f"starting a server with the model [bold]{chosen.name}[/] ({chosen.backend}) ...")
    begin = time.monotonic()
    names = environment.variable_names()
    variables = {names[field][0]: getattr(settings.model, field) for field in COMPUTING}
    with served(chosen.model_dir, chosen.backend, variables) as url:
        console.print(f"ready after {time.monotonic() - begin:.1f} s")
        body = json.dumps({"img_id": path.name, "img_data": base64.b64encode(data).decode()})
        console.print(f"POST {url}/invocations  {path.name}, {len(data)} bytes")
        start = time.monotonic()
        reply = _post(f"{url}/invocations", body.encode())
        console.print(f"200 after {1000 * (time.monotonic() - start):.0f} ms\n")
        found = prediction(annotations(reply), pixels)
        console.print(table(found))
        overlay(found.image, found.detections, found.model.categories).save(out)
        console.print(f"{len(found.detections)} instances drawn in [bold]{out}[/]")
        has_page = PLAYGROUND in plugins.routes()
        if keep or show:
            _keep_running(console, url, has_page=has_page, show=show)
    if has_page and not (keep or show):
        console.print(
            f"next: {called_as()} demo --keep  (leaves the playground running)", soft_wrap=True
        )


def _keep_running(console: Console, url: str, *, has_page: bool, show: bool) -> None:
    """Print where the server answers; return at Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not has_page:
        console.print("no page is installed: pip install maskrcnn-playground")
    console.print("the server runs until Ctrl-C; the playground is at" if has_page else "server:")
    console.print(f"{url}/", soft_wrap=True)
    if show:
        webbrowser.open(f"{url}/")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("stopped")


def _post(url: str, body: bytes) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise RequestError(json.load(error)["error"]["message"]) from None
