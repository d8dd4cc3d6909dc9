"""The OpenAPI document of the server's own routes."""

import inspect
import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from starlette.routing import Route

from maskrcnn_handlers.http.host import InferenceRoute
from maskrcnn_handlers.request.envelope import ATTRIBUTES
from maskrcnn_handlers.request.requests import (
    ARRAY,
    FORM,
    JSON,
    RAW,
    FormRequest,
    JsonRequest,
    SeveralRequest,
)

BYTES = {"schema": {"type": "string", "format": "binary"}}
INVOCATION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "oneOf": [JsonRequest.model_json_schema(), SeveralRequest.model_json_schema()]
                }
            },
            FORM: {"schema": FormRequest.model_json_schema()},
            **dict.fromkeys((*RAW, ARRAY), BYTES),
        },
    },
    "parameters": [
        {
            "in": "header",
            "name": ATTRIBUTES,
            "schema": {"type": "string", "maxLength": 1024},
            "description": "Options as `key=value`, separated by `;`, for bodies other than JSON.",
        }
    ],
}
"""Requests of a route that takes an image."""
PAGE: dict[str, Any] = {
    "parameters": [
        {
            "in": "query",
            "name": "next_page_token",
            "required": False,
            "schema": {"type": "string", "default": ""},
        }
    ]
}
"""Requests of a route that lists a page at a time."""
LISTED = ("/models", "GET")
"""Path and method of the route that lists a page at a time."""
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error", "request_id"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "detail"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "detail": {"type": "object"},
            },
        },
        "request_id": {"type": "string"},
    },
}
RESPONSES = {
    "200": {"description": "Successful Response", "content": {JSON: {"schema": {}}}},
    "default": {
        "description": "Error",
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    },
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document of a server's own routes."""
    paths: dict[str, Any] = {}
    for route in routes:
        accepted = INVOCATION if isinstance(route, InferenceRoute) else {}
        for method in sorted((route.methods or set()) - {"HEAD"}):
            listed = (route.path, method) == LISTED
            operation = _operation(route, method.lower(), PAGE if listed else accepted)
            paths.setdefault(route.path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "maskrcnn_server",
            "description": "Instance segmentation: boxes, classes, scores and masks.",
            "version": version("maskrcnn-server"),
        },
        "paths": paths,
        "components": {"schemas": {"Error": ERROR}},
    }


def _operation(route: Route, method: str, accepted: dict[str, Any]) -> dict[str, Any]:
    name = route.name.strip("_")
    in_path = [
        {"in": "path", "name": parameter, "required": True, "schema": {"type": "string"}}
        for parameter in route.param_convertors
    ]
    parameters = in_path + accepted.get("parameters", [])
    return {
        "summary": name.replace("_", " ").title(),
        "description": inspect.getdoc(route.endpoint) or "",
        "operationId": re.sub(r"\W", "_", f"{name}{route.path}_{method}"),
        **accepted,
        **({"parameters": parameters} if parameters else {}),
        "responses": RESPONSES,
    }
