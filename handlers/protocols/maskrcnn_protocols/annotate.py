"""`maskrcnn-server annotate label-studio`"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from maskrcnn_protocols.label_studio.routes import PREFIX
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import NoAnswer, StartupError

if TYPE_CHECKING:
    import httpx

Tool: TypeAlias = Literal["label-studio"]
BATCH = 8
"""Number of tasks in one request to the server."""
TIMEOUT_S = 300

logger = logging.getLogger(__name__)


def annotate(
    tool: Annotated[Tool, typer.Argument(help="The annotation tool.")],
    project: Annotated[int, typer.Option(help="Number of the project.")],
    url: Annotated[str, typer.Option(help="Address of the tool.")],
    server: Annotated[str, typer.Option(help="Address of this project's server.")],
    token: Annotated[
        str, typer.Option(envvar="LABEL_STUDIO_API_KEY", help="Token of a user of the tool.")
    ] = "",
) -> None:
    """Store a prediction for each task of a project that has none of this model.

    It may be ended and started again: it goes on where it was. Images are fetched by the server.
    """
    try:
        import httpx
        from label_studio_sdk.client import LabelStudio
    except ImportError:
        raise StartupError(
            f"{tool} needs its SDK: pip install 'maskrcnn-protocols[label-studio]'"
        ) from None
    key = environment.api_key()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with (
        httpx.Client(timeout=TIMEOUT_S) as connection,
        httpx.Client(base_url=server + PREFIX, headers=headers, timeout=TIMEOUT_S) as backend,
    ):
        studio = LabelStudio(base_url=url, api_key=token, httpx_client=connection)
        config = str(studio.projects.get(id=project).label_config)
        said = {"project": str(project), "schema": config, "hostname": url, "access_token": token}
        version = _asked(backend, "/setup", said)["model_version"]
        waiting = (one for one in studio.tasks.list(project=project, fields="all"))
        left = (one for one in waiting if version not in _versions(one))
        done = failed = 0
        for tasks in _batches(left):
            asked = {
                "project": str(project),
                "label_config": config,
                "tasks": [{"id": one.id, "data": one.data} for one in tasks],
            }
            for task, found in zip(
                tasks, _asked(backend, "/predict", asked)["results"], strict=True
            ):
                if "error" in found:
                    logger.warning("task %d: %s", task.id, found["error"]["message"])
                    failed += 1
                    continue
                studio.predictions.create(task=task.id, **found)
                done += 1
    typer.echo(f"{done} tasks have a new prediction of {version}; {failed} failed")


def _asked(backend: httpx.Client, path: str, content: dict[str, Any]) -> Any:
    """The server's reply. Raises NoAnswer with what it said."""
    import httpx

    try:
        reply = backend.post(path, json=content)
    except httpx.TransportError as error:
        raise NoAnswer(f"{backend.base_url}: {error}") from None
    if reply.is_error:
        raise NoAnswer(f"{backend.base_url}{path.lstrip('/')}: {reply.text[:500]}")
    return reply.json()


def _versions(task: Any) -> set[str]:
    predictions = task.predictions or []
    return {
        str(one.get("model_version") if isinstance(one, dict) else one.model_version)
        for one in predictions
    }


def _batches(tasks: Iterator[Any]) -> Iterator[Sequence[Any]]:
    while batch := list(islice(tasks, BATCH)):
        yield batch
