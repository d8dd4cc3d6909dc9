"""`maskrcnn-server verify`"""

import base64
import contextlib
import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias, cast

import PIL.Image
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maskrcnn_annotation_formats.reading import annotations, prediction
from maskrcnn_handlers.cli.options import BackendName
from maskrcnn_handlers.cli.showing import downloading
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_predict.inputs import read_image
from maskrcnn_predict.progress import counting, working
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Backend, Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidModel, InvalidSetting, RequestError
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import installed
from maskrcnn_server.store.downloads import sha256
from maskrcnn_server.trace import Traces
from maskrcnn_study.certificate import Certificate, Pictured, figures
from maskrcnn_study.verification import verify as hold_against
from maskrcnn_study.verification import verify_answer

Ask: TypeAlias = Callable[[bytes], bytes]
"""Function from a request's body to the reply's body."""
TIMEOUT_S = 300


def verify(
    model: Annotated[str, typer.Argument(help="Folder, archive, address or zoo name.")],
    picture: Annotated[
        list[Path] | None, typer.Argument(help="Pictures (default: those of the demo models).")
    ] = None,
    original: Annotated[
        Path | None,
        typer.Option(help="Your checkout of the framework's code (default: as the variable says)."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the certificate and its page.")] = Path(
        "certificate"
    ),
    url: Annotated[
        str | None, typer.Option(help="Judge the server at this address, not the local model.")
    ] = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="Also hold the original against itself, on one thread.")
    ] = False,
    score_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum score of what is compared.")
    ] = 0.05,
    backend: BackendName = None,
) -> None:
    """Compare this server's results with those of the code that trained the model.

    Both run on the same images and are compared stage by stage. Exit code 0: nothing differs beyond
    float noise.
    """
    console = Console(soft_wrap=True)
    plugins, settings = installed(), environment.read(model=model, backend=backend)
    paths = picture or [path for demo in plugins.demos().values() for path in demo.images]
    if not paths:
        raise InvalidSetting("no installed plugin brings sample images: name some")
    decoded = [read_image(path, settings) for path in paths]
    if original is not None and not original.is_dir():
        raise InvalidSetting(f"--original {original}: no such folder")
    with downloading(console) as progress:
        located = locate(plugins, settings.model, settings, progress)
    chosen = choose_backend(plugins, located)
    config = replace(located.config(chosen.name), original=original)
    options = PredictOptions(score_threshold=score_threshold)
    with contextlib.ExitStack() as stack:
        with working(console, "starting the original code"):
            theirs = _loaded(chosen, replace(config, engine="original"), stack)
            again = None
            if noise:
                again = _loaded(chosen, replace(config, engine="original", threads=1), stack)
            ours = _loaded(chosen, config, stack)
        if url is None:
            models = Models.single(Scheduler(ours, max_waiting=1))
            ask = _in_process(Service(plugins.formats(), settings, models))
        else:
            ask = _over_http(url)
        judged = "this server" if url is None else url
        pictured = []
        count = stack.enter_context(counting(console, "comparing", len(paths)))
        for path, (_, image) in zip(paths, decoded, strict=True):
            reference = theirs.trace(image, options)
            answer = _answer(ask, path.name, image, score_threshold)
            if url is None:
                found = ours.trace(image, options)
                findings = hold_against(found, reference)
                findings.append(verify_answer(answer, reference, found.detections))
            else:
                findings = [verify_answer(answer, reference)]
            floor = [] if again is None else hold_against(again.trace(image, options), reference)
            one = Pictured(
                name=path.name,
                digest=sha256(path),
                image=image,
                findings=findings,
                noise=floor,
                found=answer,
                original=reference.detections,
            )
            console.print(_table(one))
            pictured.append(one)
            count()
        certificate = Certificate(
            model=located.folder.name,
            weights=_weights(located.folder, ours.metadata.facts.get("checkpoint", "")),
            ours=ours.metadata,
            original=theirs.metadata,
            judged=judged,
            pictured=pictured,
        )
    certificate.write(out)
    console.print(f"certificate written to {escape(str(out))}")
    if not certificate.is_same:
        raise InvalidModel(certificate.verdict)
    console.print(f"[green]{escape(certificate.verdict)}[/]")


class _Traced(Model, Traces, Protocol):
    """A model that shows its stages."""


def _loaded(backend: Backend, config: ModelConfig, stack: contextlib.ExitStack) -> _Traced:
    loaded = backend.load(config)
    stack.callback(loaded.close)
    if not isinstance(loaded, Traces):
        raise InvalidModel(f"backend {backend.name} cannot show the stages of its models")
    return cast(_Traced, loaded)


def _in_process(service: Service) -> Ask:
    """Through everything a request goes through but the socket."""

    def ask(body: bytes) -> bytes:
        reply = service.invoke(Envelope.of(body, "application/json", "application/json"))
        if reply.status != 200:
            raise RequestError(json.loads(reply.body)["error"]["message"])
        return reply.body

    return ask


def _over_http(url: str) -> Ask:
    address = url if url.rstrip("/").endswith("invocations") else f"{url.rstrip('/')}/invocations"
    headers = {"Content-Type": "application/json"}
    if key := environment.api_key():
        headers["Authorization"] = f"Bearer {key}"

    def ask(body: bytes) -> bytes:
        request = urllib.request.Request(address, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
                data: bytes = reply.read()
        except urllib.error.HTTPError as error:
            raise RequestError(f"{address}: {error.code} {error.read(500)!r}") from None
        except OSError as error:
            raise RequestError(f"{address}: {error}") from None
        return data

    return ask


def _answer(ask: Ask, name: str, image: Image, score_threshold: float) -> Detections:
    """What a client gets for a picture, sent without loss."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    body = {
        "img_id": name,
        "img_data": base64.b64encode(buffer.getvalue()).decode(),
        "score_threshold": score_threshold,
        "format": "sagemaker",
    }
    reply = json.loads(ask(json.dumps(body).encode()))
    return prediction(annotations(reply), image).detections


def _weights(folder: Path, checkpoint: str) -> dict[str, str]:
    """SHA-256 of the files of the checkpoint."""
    stem = Path(checkpoint).stem
    return {path.name: sha256(path) for path in sorted(folder.glob(f"{stem}.*"))}


def _table(picture: Pictured) -> Table:
    table = Table(title=escape(picture.name), title_justify="left")
    for column in ("stage", "", "figures"):
        table.add_column(column)
    for finding in picture.findings:
        mark = "[green]same[/]" if finding.same else "[red]differs[/]"
        table.add_row(finding.stage, mark, escape(figures(finding)))
    return table
