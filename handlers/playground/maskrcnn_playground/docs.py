"""The server's OpenAPI document, and pages that show it without anything from elsewhere."""

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from swagger_ui_bundle import swagger_ui_path

from maskrcnn_handlers.http.host import Host, PublicRoute
from maskrcnn_playground import openapi

BUNDLED = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
"""Files of Swagger UI that the page needs."""
HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>maskrcnn_server: API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/page.js"></script>
</html>
"""
SCRIPT = """"use strict";
// The playground, which asks for it, has put it there.
const key = sessionStorage.getItem("api-key");
const authorized = (request) => {
  if (key) request.headers = { ...request.headers, Authorization: `Bearer ${key}` };
  return request;
};
fetch("openapi.json", authorized({})).then((reply) => reply.json()).then((spec) => {
  // Swagger UI 4 refuses the number 3.1, and shows what we use of it.
  spec.openapi = "3.0.3";
  // Relative, so that requests find the server behind a proxy, too.
  spec.servers = [{ url: new URL(".", window.location.href).pathname }];
  SwaggerUIBundle({
    spec,
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
    requestInterceptor: authorized,
  });
});
"""


class DocsRoutes:
    """`/openapi.json`, `/docs`, its files, and `/redoc`, which leads there."""

    name = "docs"

    def routes(self, _: Host, /) -> Sequence[BaseRoute]:
        return [
            Route("/openapi.json", _document),
            PublicRoute("/docs", _page),
            PublicRoute("/docs/page.js", _script),
            PublicRoute("/docs/{name}", _file),
            PublicRoute("/redoc", _redirect),
        ]


async def _document(request: Request) -> Response:
    return JSONResponse(openapi.document(request.app.routes))


async def _page(_: Request) -> Response:
    return Response(PAGE, media_type="text/html", headers=HEADERS)


async def _script(_: Request) -> Response:
    return Response(SCRIPT, media_type="text/javascript", headers=HEADERS)


async def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in BUNDLED:
        raise HTTPException(404)
    return FileResponse(str(swagger_ui_path / name), headers=HEADERS)


async def _redirect(_: Request) -> Response:
    return RedirectResponse("docs")
