"""Access control: the API key, the pages of other sites, and the names of the server."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware

from maskrcnn_handlers.answer.reply import refusal
from maskrcnn_handlers.http.host import InferenceRoute, PublicRoute
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.request.envelope import ATTRIBUTES, TARGET_MODEL
from maskrcnn_server.errors import OriginRefused, Unauthorized

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from maskrcnn_handlers.answer.reply import Reply
    from maskrcnn_server.settings import Settings

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""
CHALLENGE = {"WWW-Authenticate": "Bearer"}
"""Header of a refusal for want of a key (https://www.rfc-editor.org/rfc/rfc6750#section-3)."""
SENT = ("Authorization", "Content-Type", ATTRIBUTES, TARGET_MODEL, *request_ids.GIVEN)
"""Request headers that pages of other sites may send."""
SHOWN = (request_ids.HEADER, ATTRIBUTES, "Retry-After", "Server-Timing")
"""Response headers that pages of other sites may read."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Access rules of a server."""

    api_key: str = field(default="", repr=False)
    """Key that requests need. Empty: none."""
    origins: Sequence[str] = ()
    """Origins whose pages may ask, such as `https://a.example`; `*` for every one, which may then
    change nothing."""
    hosts: Sequence[str] = ()
    """Names that the server goes by, besides addresses and names of this machine."""

    @staticmethod
    def of(settings: Settings) -> Access:
        """The access that the settings grant."""
        key = settings.api_key
        return Access(
            api_key="" if key is None else key.get_secret_value(),
            origins=settings.cors_origins or (),
            hosts=settings.allowed_hosts or (),
        )

    def refusal(self, method: str, headers: Headers, route: BaseRoute | None) -> Reply | None:
        """The reply to a request that is not allowed. None: it is."""
        try:
            if not isinstance(route, PublicRoute):
                self._check_key(headers)
            if method not in SAFE_METHODS and not isinstance(route, InferenceRoute):
                self._check_origin(headers)
        except Unauthorized as error:
            return replace(refusal(error), headers=CHALLENGE)
        except OriginRefused as error:
            return refusal(error)
        return None

    def _check_key(self, headers: Headers) -> None:
        """Raise Unauthorized if there is a key, and the request does not have it."""
        if not self.api_key:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        is_equal = secrets.compare_digest(given.strip().encode(), self.api_key.encode())
        if scheme.lower() != "bearer" or not is_equal:
            raise Unauthorized("this server needs its API key: Authorization: Bearer <key>")

    def _check_origin(self, headers: Headers) -> None:
        """Raise OriginRefused if the request comes from a page of another site.

        Browsers alone say where a request comes from. A page of another site may have the name of
        this server point to it (DNS rebinding), so names are checked as well.
        """
        origin = headers.get("origin")
        if origin is None and headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return
        if origin in self.origins:
            return
        host = headers.get("host", "")
        if origin is None or urlsplit(origin).netloc.lower() != host.lower():
            raise OriginRefused(
                f"pages of {origin or 'other sites'} may not change this server; "
                "MASKRCNN_CORS_ORIGINS allows them"
            )
        name = urlsplit(f"//{host}").hostname or ""
        if not self._is_ours(name):
            raise OriginRefused(
                f"{name}: not a name of this server; MASKRCNN_ALLOWED_HOSTS allows it"
            )

    def _is_ours(self, name: str) -> bool:
        if name in self.hosts or name.endswith(".localhost"):
            return True
        if name in ("localhost", socket.gethostname().lower()):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def shared(app: ASGIApp, access: Access) -> ASGIApp:
    """The application, with the headers that pages of the allowed origins need."""
    if not access.origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=access.origins,
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=SENT,
        expose_headers=SHOWN,
    )
