"""Routes of the page that export edited annotations, and get images that browsers cannot."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import PIL.Image
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from maskrcnn_handlers.answer.reply import json_reply, refusal
from maskrcnn_handlers.http.host import InferenceRoute, response
from maskrcnn_handlers.request import images, requests
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_playground import edited
from maskrcnn_playground.answering import Answering, Making
from maskrcnn_playground.playground import HEADERS
from maskrcnn_server.categories import coco
from maskrcnn_server.errors import InvalidImage, MaskRCNNError, RequestError

if TYPE_CHECKING:
    from maskrcnn_handlers.service import Service
    from maskrcnn_server.backend import ModelMetadata
    from maskrcnn_server.formats import Format

SHOWN_SIDE = 4096
"""Longest side, in pixels, of an image that is made for a browser to show."""


class Editing:
    """Exports of edited annotations, and pictures for the browser, within the usual limits."""

    def __init__(self, service: Service, formats: Mapping[str, Format]) -> None:
        self._service = service
        self._formats = formats
        # An image in base64 takes a third more, and masks come with it.
        answering = Answering(service, lambda length: service.check_length(length // 2))
        self._answer = answering.answer

    def routes(self) -> Sequence[BaseRoute]:
        """`/playground/export`, `/playground/picture`, `/playground/address`, and
        `/playground/model.json`."""
        return [
            Route("/playground/model.json", self._model),
            InferenceRoute("/playground/export", self._export, methods=["POST"]),
            InferenceRoute("/playground/picture", self._picture, methods=["POST"]),
            InferenceRoute("/playground/address", self._address, methods=["POST"]),
        ]

    async def _model(self, request: Request) -> Response:
        """The categories of a model, and whether they are COCO's."""
        try:
            metadata = self._metadata(request.query_params.get("model"))
        except MaskRCNNError as error:
            return response(refusal(error))
        names = {category.name for category in metadata.categories}
        described = {
            "categories": [{"id": c.id, "name": c.name} for c in metadata.categories],
            "is_coco": names.issuperset(category.name for category in coco()),
        }
        return response(json_reply(200, described, HEADERS))

    async def _export(self, request: Request) -> Response:
        """Write edited annotations in the format that the query names."""
        model = request.query_params.get("model")
        name = request.query_params.get("format", "")

        def written(body: bytes) -> Making:
            form = self._formats.get(name)
            if form is None:
                known = ", ".join(self._formats)
                raise RequestError(f"format: {name!r} is not installed; there are {known}")
            limit = self._service.settings.max_image_pixels
            made = edited.prediction(edited.parse(body), self._metadata(model), limit)
            return form.render(made), form.media_type

        return await self._answer(request, written)

    async def _picture(self, request: Request) -> Response:
        """Turn an image file into a PNG, reduced if it is large."""

        def drawn(body: bytes) -> Making:
            pixels = images.decode(body, self._service.settings.max_image_pixels)
            shown = PIL.Image.fromarray(pixels)
            shown.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
            file = BytesIO()
            shown.save(file, "PNG", compress_level=1)
            return file.getvalue(), "image/png"

        return await self._answer(request, drawn)

    async def _address(self, request: Request) -> Response:
        """Get an image from the address in `{"img_url": ...}`, if a plugin of the server does."""

        def fetched(body: bytes) -> Making:
            envelope = self._service.prepare(Envelope.of(body, requests.JSON))
            try:
                content = from_json(envelope.body)
                data = content.get("img_data") if isinstance(content, dict) else None
                image = base64.b64decode(data) if data else None
            except (ValueError, TypeError):
                raise RequestError("body: not JSON with an address in img_url") from None
            if image is None:
                raise RequestError("img_url: this server fetches no images: see docs/protocols.md")
            kind = images.media_type(image) or ""
            if not kind.startswith("image/"):
                raise InvalidImage("img_url: there is no image at this address")
            return image, kind

        return await self._answer(request, fetched)

    def _metadata(self, name: str | None) -> ModelMetadata:
        hosted = self._service.models.find(name)
        return hosted.ready().metadata
