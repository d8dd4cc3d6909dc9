"""CVAT's automatic annotation by a maskrcnn_server: the handler of a nuclio function.

It needs only Python. The server does the work, and replies in CVAT's format (`format=cvat`).
"""

import json
import os
import urllib.error
import urllib.request

TIMEOUT_S = 60


def init_context(context):
    """Nuclio calls this once, at the start of each worker."""
    context.user_data.url = os.environ["MASKRCNN_URL"].rstrip("/") + "/invocations"
    context.logger.info(f"annotating with {context.user_data.url}")


def handler(context, event):
    """Nuclio calls this for each frame: `{"image": base64, "threshold": 0.5}`."""
    fields = {"img_id": "frame", "img_data": event.body["image"], "format": "cvat"}
    if event.body.get("threshold") is not None:
        fields["score_threshold"] = float(event.body["threshold"])
    request = urllib.request.Request(
        context.user_data.url,
        json.dumps(fields).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            body, status = reply.read().decode(), 200
    except urllib.error.HTTPError as error:
        body, status = error.read().decode(errors="replace"), error.code
    return context.Response(
        body=body, headers={}, content_type="application/json", status_code=status
    )
