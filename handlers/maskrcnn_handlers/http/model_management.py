"""SageMaker's multi-model contract: load, list and unload models; bytes in, replies out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskrcnn_handlers.answer.reply import failed, json_reply, refusal
from maskrcnn_handlers.request.requests import check_size
from maskrcnn_server.errors import (
    MaskRCNNError,
    ModelNotFound,
    MultiModelOff,
    PayloadTooLarge,
    RequestError,
    redacted,
)

if TYPE_CHECKING:
    from maskrcnn_handlers.answer.reply import Reply
    from maskrcnn_server.hosting.models import Hosted, Models

PAGE = 100
"""Number of models in one reply at most."""
MAX_LOAD_BYTES = 1 << 16
"""Size of the body of a request to load a model at most."""
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$"
"""Names of models that are loaded by request: those of `models.yaml`, and longer ones."""


class LoadRequest(BaseModel):
    """SageMaker's request to load a model."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str = Field(pattern=MODEL_NAME)
    url: str | None = Field(None, min_length=1, max_length=4096)
    """Folder of the model. None: as the `models.yaml` says."""


class ModelManagement:
    """Answers for the models of a server, if it hosts several. Never raises.

    They are loaded and unloaded by request if `is_open`.
    """

    def __init__(self, models: Models, *, is_open: bool = True) -> None:
        self._models = models
        self._is_open = is_open

    def load(self, body: bytes) -> Reply:
        """Load a model: 200, 409 if it is loaded, 507 if there is no memory for it."""

        def answer(models: Models) -> Reply:
            if len(body) > MAX_LOAD_BYTES:
                raise PayloadTooLarge(f"the body is larger than {MAX_LOAD_BYTES >> 10} KiB")
            check_size(body)
            try:
                request = LoadRequest.model_validate_json(body)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, first["loc"])) or "body"
                raise RequestError(f"{where}: {first['msg']}") from None
            hosted = models.load(request.model_name, request.url)
            return json_reply(200, {"modelName": hosted.name, "modelUrl": redacted(hosted.url)})

        return self._answered(answer, changing=True)

    def unload(self, name: str) -> Reply:
        """Unload a model: 200, 404 if it is not loaded."""

        def answer(models: Models) -> Reply:
            models.unload(name)
            return json_reply(200, {"modelName": name})

        return self._answered(answer, changing=True)

    def show(self, name: str) -> Reply:
        """The address and the state of a model: 200, 404 if it is not loaded."""

        def answer(models: Models) -> Reply:
            found = next((h for h in models.hosted() if h.name == name), None)
            if found is None:
                raise ModelNotFound(f"no model {name} is loaded", model_name=name)
            return json_reply(200, _described(found))

        return self._answered(answer)

    def list(self, token: str) -> Reply:
        """The models, a hundred at a time: `token` is the first answer's `nextPageToken`."""

        def answer(models: Models) -> Reply:
            if not (token == "" or (token.isascii() and token.isdigit() and len(token) <= 9)):
                raise RequestError(f"next_page_token={token}: not a token that this server gave")
            start = int(token or 0)
            hosted = sorted(models.hosted(), key=lambda h: h.name)
            page = [_described(h) for h in hosted[start : start + PAGE]]
            more = {"nextPageToken": str(start + PAGE)} if len(hosted) > start + PAGE else {}
            return json_reply(200, {"models": page, **more})

        return self._answered(answer)

    def _answered(self, answer: Callable[[Models], Reply], *, changing: bool = False) -> Reply:
        try:
            if self._models.is_single:
                raise MultiModelOff("this server hosts one model; MASKRCNN_MULTI_MODEL is off")
            if changing and not self._is_open:
                raise MultiModelOff("this server's models stay; MASKRCNN_MULTI_MODEL is off")
            return answer(self._models)
        except MaskRCNNError as error:
            return refusal(error)
        except Exception as error:
            return refusal(failed(error))


def _described(hosted: Hosted) -> dict[str, object]:
    state, reason = hosted.state()
    described = {"modelName": hosted.name, "modelUrl": redacted(hosted.url), "status": state}
    workers = hosted.scheduler.workers if hosted.scheduler is not None else []
    more: dict[str, object] = {"reason": redacted(reason)} if reason else {}
    return described | more | ({"workers": workers} if workers else {})
