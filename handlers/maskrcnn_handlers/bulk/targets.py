"""Who answers: a server at a URL, a SageMaker endpoint, or a model that is served for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from maskrcnn_client import Client
from maskrcnn_client.transports import ACCEPT, CONTENT_TYPE, ENDPOINT_NAME, Question, Reply, shown
from maskrcnn_handlers.http.child import running, serve_command
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.hosting.startup import choose_backend, fetched, open_model
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings
from maskrcnn_server.store.archives import is_archive
from maskrcnn_server.store.downloads import Progress
from maskrcnn_server.store.model_store import CHECKPOINTS

Kind: TypeAlias = Literal["url", "endpoint", "model"]

START_TIMEOUT_S = 600
TIMEOUT_S = 600
"""For an answer; a server with a queue takes its time."""
RETRY_S = 300
"""For a server that is busy, or an endpoint that gets more instances."""
LARGEST_MB = 1024


@dataclass(frozen=True)
class Target:
    """Who is asked."""

    kind: Kind
    where: str

    def __str__(self) -> str:
        return f"{self.kind} {shown(self.where) if '://' in self.where else self.where}"


def recognised(text: str, plugins: Plugins) -> Target:
    """A target by what its name looks like. Raises InvalidSetting if that is nothing."""
    is_file = is_archive(text) or text.endswith(CHECKPOINTS)
    if text.startswith(("http://", "https://")) and not is_file:
        return Target("url", text)
    if "://" in text or is_file or Path(text).exists() or text in plugins.zoo():
        return Target("model", text)
    if ENDPOINT_NAME.fullmatch(text):
        return Target("endpoint", text)
    raise InvalidSetting(
        f"{text}: neither the URL of a server nor a model, nor the name of an endpoint"
    )


@contextmanager
def opened(
    target: Target,
    plugins: Plugins,
    progress: Progress,
    backend: str | None = None,
    region: str | None = None,
    profile: str | None = None,
) -> Iterator[Client]:
    """A client of the target; a model is served by a process of its own meanwhile.

    Raises StartupError if it cannot be served.
    """
    if target.kind != "model":
        with Client(
            target.where, retry_s=RETRY_S, timeout_s=TIMEOUT_S, region=region, profile=profile
        ) as client:
            yield client
        return
    settings = fetched(plugins, environment.read(model=target.where, backend=backend), progress)
    chosen = choose_backend(plugins, settings)
    command = serve_command("--model", settings.model, "--backend", chosen.name)
    # What is sent is what is measured: no picture is made smaller on its way.
    command = ["env", f"MASKRCNN_MAX_PAYLOAD_MB={LARGEST_MB}", *command]
    with (
        running(command, start_timeout_s=START_TIMEOUT_S) as child,
        Client(child.url, timeout_s=TIMEOUT_S) as client,
    ):
        yield client


@contextmanager
def in_process(
    plugins: Plugins, settings: Settings, progress: Progress, concurrency: int
) -> Iterator[Client]:
    """A client of a model in this process, by all that a request goes through but the socket."""
    settings = settings.model_copy(
        update={"max_payload_mb": LARGEST_MB, "timeout_s": float(TIMEOUT_S)}
    )
    model = open_model(plugins, settings, progress)
    scheduler = Scheduler(model, max_waiting=concurrency, max_batch=settings.max_batch)
    service = Service(plugins.formats(), settings, Models.single(scheduler))
    with Client(_InProcess(service), retry_s=0) as client:
        yield client


class _InProcess:
    limit_mb = None

    def __init__(self, service: Service) -> None:
        self._service = service

    def send(self, question: Question) -> Reply:
        envelope = Envelope.of(question.body, CONTENT_TYPE, ACCEPT, question.options)
        reply = self._service.invoke(envelope)
        return Reply(reply.status, reply.body)

    def close(self) -> None:
        self._service.close(timeout_s=1)
