"""What a server says when it does not answer, as errors."""

import json
from typing import NoReturn

from maskrcnn_client.transports import Reply
from maskrcnn_server import errors
from maskrcnn_server.errors import MaskRCNNError, NoAnswer, RequestError

TOO_LARGE = 413


def limit_mb(reply: Reply) -> float | None:
    """MiB that a request may have, if it was refused for having more, and the server says so."""
    if reply.status != TOO_LARGE:
        return None
    try:
        return float(json.loads(reply.body)["error"]["detail"]["max_payload_mb"])
    except (ValueError, KeyError, TypeError):
        return None


def refuse(reply: Reply) -> NoReturn:
    """Raise what the server says, by the error's own class."""
    try:
        said = json.loads(reply.body)
        error = said["error"]
        code, message, detail = str(error["code"]), str(error["message"]), dict(error["detail"])
    except (ValueError, KeyError, TypeError):
        start = " ".join(reply.body[:300].decode(errors="replace").split())
        raise NoAnswer(f"the server answers {reply.status}: {start or 'nothing'}") from None
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and k is not MaskRCNNError]
    known = {k.code: k for k in kinds if issubclass(k, MaskRCNNError)}
    fallback = RequestError if reply.status < 500 else MaskRCNNError
    raise known.get(code, fallback)(message, **{**detail, "request_id": said.get("request_id")})
