"""`img_url`: an address in place of `img_data`, in requests to this server's own routes."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json
from starlette.routing import BaseRoute

from maskrcnn_handlers.request.requests import JSON, LINES, MAX_IMAGES, check_size
from maskrcnn_protocols import settings
from maskrcnn_protocols.allowed import Allowed
from maskrcnn_protocols.fetching import Fetcher
from maskrcnn_server.errors import PayloadTooLarge, RequestError

if TYPE_CHECKING:
    from maskrcnn_handlers.http.host import Host
    from maskrcnn_handlers.request.envelope import Envelope

FIELD = "img_url"
AT_ONCE = 4
"""Number of images of one request that are fetched at the same time."""


class ImageAddresses:
    """No routes; requests of the server's own may have `img_url`, where the settings allow any."""

    name = "img-url"

    def routes(self, host: Host, /) -> Sequence[BaseRoute]:
        fetcher = fetcher_of(host)
        host.service.prepare = Addresses(
            fetcher, int(host.settings.max_payload_mb * 2**20)
        ).complete
        return []


def fetcher_of(host: Host) -> Fetcher:
    """A fetcher as the settings say. Raises InvalidSetting."""
    chosen = settings.read()
    return Fetcher(
        Allowed(chosen.image_addresses),
        max_bytes=int(host.settings.max_payload_mb * 2**20),
        timeout_s=chosen.fetch_timeout_s,
        private=chosen.private_addresses,
    )


class Addresses:
    """Puts images in place of their addresses; those of one request have `max_bytes` at most."""

    def __init__(self, fetcher: Fetcher, max_bytes: int) -> None:
        self._fetcher = fetcher
        self._max_bytes = max_bytes

    def complete(self, envelope: Envelope) -> Envelope:
        """The envelope with images for addresses. Raises RequestError, or what `fetch` raises."""
        kind = envelope.content_type.partition(";")[0].strip().lower()
        is_json = kind in (JSON, *LINES) or kind.endswith("+json")
        if not is_json or f'"{FIELD}"'.encode() not in envelope.body:
            return envelope
        if not self._fetcher:
            raise RequestError(
                f"{FIELD}: this server fetches no images; PROTOCOLS_IMAGE_ADDRESSES allows some",
                field=FIELD,
            )
        check_size(envelope.body)
        lines = envelope.body.split(b"\n", MAX_IMAGES + 1) if kind in LINES else [envelope.body]
        try:
            contents = [from_json(line) if line.strip() else None for line in lines]
        except ValueError:
            return envelope  # the service knows what to say
        wanted = [one for content in contents for one in _with_address(content)]
        self._put(wanted)
        body = b"\n".join(json.dumps(one).encode() if one is not None else b"" for one in contents)
        return replace(envelope, body=body)

    def _put(self, wanted: Sequence[dict[str, Any]]) -> None:
        if len(wanted) > MAX_IMAGES:
            raise RequestError(f"{FIELD}: more than {MAX_IMAGES} images", field=FIELD)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            left = self._max_bytes
            urls = [one.pop(FIELD) for one in wanted]
            for one, data in zip(wanted, pool.map(self._fetcher.fetch, urls), strict=True):
                left -= len(data)
                if left < 0:
                    raise PayloadTooLarge(f"{FIELD}: the images are larger than a body may be")
                one["img_data"] = base64.b64encode(data).decode()


def _with_address(content: object) -> list[dict[str, Any]]:
    """The objects that have an address in place of an image. Raises RequestError for both."""
    if not isinstance(content, dict):
        return []
    instances = content.get("instances")
    found = [
        one
        for one in [content, *(instances if isinstance(instances, list) else ())]
        if isinstance(one, dict) and one.get(FIELD) is not None
    ]
    for one in found:
        if not isinstance(one[FIELD], str) or one.get("img_data") is not None:
            raise RequestError(f"{FIELD}: an address, in place of img_data", field=FIELD)
        one.setdefault("img_id", one[FIELD].partition("?")[0][:1024])
    return found
