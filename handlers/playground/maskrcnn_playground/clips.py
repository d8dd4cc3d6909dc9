"""Routes of the page about clips: their tracks, and the frames of animated images."""

from __future__ import annotations

import base64
import json
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, TypedDict

import PIL.Image
from starlette.routing import BaseRoute

from maskrcnn_handlers.http.host import InferenceRoute
from maskrcnn_handlers.request.requests import JSON
from maskrcnn_playground import tracks
from maskrcnn_playground.answering import Answering, Making
from maskrcnn_server.errors import InvalidImage, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from maskrcnn_handlers.service import Service

QUALITY = 90
"""Quality of its JPEG."""
MAX_ALL_PIXELS = 300_000_000
"""Number of pixels at most, of all frames of an animated image together."""
MAX_REPLY_BYTES = 96 << 20
"""Size of all frames as JPEG at most."""


class Shown(TypedDict):
    """A frame as the page shows it."""

    time_s: float
    duration_s: float
    image: str


class Clips:
    """Tracks and frames, within the usual limits."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._answering = Answering(service, service.check_length)

    def routes(self) -> Sequence[BaseRoute]:
        """`/playground/tracks` and `/playground/frames`."""
        return [
            InferenceRoute("/playground/tracks", self._tracks, methods=["POST"]),
            InferenceRoute("/playground/frames", self._frames, methods=["POST"]),
        ]

    async def _tracks(self, request: Request) -> Response:
        """Follow instances through frames; in the format that the query names, if it does."""
        model = request.query_params.get("model")
        form = request.query_params.get("format")

        def made(body: bytes) -> Making:
            if form is None:
                return tracks.followed(tracks.parse(body)), JSON
            if form not in tracks.FORMATS:
                known = ", ".join(tracks.FORMATS)
                raise RequestError(f"format: {form!r} is none of tracks; there are {known}")
            metadata = self._service.models.find(model).ready().metadata
            return tracks.written(tracks.parse(body), metadata, form), tracks.FORMATS[form]

        return await self._answering.answer(request, made)

    async def _frames(self, request: Request) -> Response:
        """The frames of an animated image as JPEGs, and for how long each is shown."""
        limit = self._service.settings.max_image_pixels
        return await self._answering.answer(request, lambda body: (frames(body, limit), JSON))


def are_read() -> bool:
    """Whether animated images are read here."""
    return find_spec("maskrcnn_video") is not None


def frames(data: bytes, max_pixels: int) -> bytes:
    """`{"size": [height, width], "frames": [{"time_s", "duration_s", "image"}]}` of an animated
    image, `image` a JPEG in base64. Of many frames, every nth is there. Raises InvalidImage."""
    if not are_read():
        raise RequestError(f"this server reads no animated images: {tracks.INSTALL}")
    from maskrcnn_video.animations import animated

    shown: list[Shown] = []
    size, total = (0, 0), 0
    with animated(data, max_pixels, max_all_pixels=MAX_ALL_PIXELS) as clip:
        nth = -(-(clip.length or 1) // tracks.MAX_FRAMES)
        for frame in clip.frames():
            if frame.number % nth:
                shown[-1]["duration_s"] += frame.duration_s
                continue
            image = PIL.Image.fromarray(frame.pixels)
            image.thumbnail((tracks.MAX_SIDE, tracks.MAX_SIDE))
            size = image.height, image.width
            jpeg = base64.b64encode(_jpeg(image)).decode()
            shown.append({"time_s": frame.time_s, "duration_s": frame.duration_s, "image": jpeg})
            total += len(jpeg)
            if total > MAX_REPLY_BYTES:
                raise InvalidImage(
                    f"its frames take more than {MAX_REPLY_BYTES >> 20} MiB as JPEGs"
                )
    return json.dumps({"size": size, "frames": shown}, separators=(",", ":")).encode()


def _jpeg(image: PIL.Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
