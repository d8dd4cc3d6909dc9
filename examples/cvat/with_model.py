"""CVAT's automatic annotation by a model in the function itself: another handler for nuclio.

For one machine, without a server: set `handler: with_model:handler` in function.yaml, and
`MASKRCNN_MODEL` in place of `MASKRCNN_URL`. The image needs maskrcnn-predict and a backend.
"""

import base64

from maskrcnn_annotation_formats.cvat import Cvat
from maskrcnn_predict.local import ModelSpec
from maskrcnn_server.errors import MaskRCNNError
from maskrcnn_server.options import Options


def init_context(context):
    """Nuclio calls this once, at the start of each worker."""
    context.user_data.model = ModelSpec().open()
    context.logger.info(f"annotating with {context.user_data.model.metadata.name}")


def handler(context, event):
    """Nuclio calls this for each frame: `{"image": base64, "threshold": 0.5}`."""
    try:
        options = Options(score_threshold=event.body.get("threshold"))
        image = base64.b64decode(event.body["image"])
        found = context.user_data.model.prediction(image, options)
        body, status = Cvat().render(found).decode(), 200
    except MaskRCNNError as error:
        body, status = error.message, 422
    return context.Response(
        body=body, headers={}, content_type="application/json", status_code=status
    )
