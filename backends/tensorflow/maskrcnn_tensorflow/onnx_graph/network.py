"""The whole network, from a batch of images to detections and masks."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from maskrcnn_tensorflow.architecture import Architecture
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.folding import fold
from maskrcnn_tensorflow.onnx_graph import heads, rpn
from maskrcnn_tensorflow.onnx_graph.body import C4, Pyramid
from maskrcnn_tensorflow.onnx_graph.net import BOOL, FLOAT, INT, Net, Value
from maskrcnn_tensorflow.onnx_graph.rules import Rules
from maskrcnn_tensorflow.rows import channels_first


def network(
    variables: Mapping[str, NDArray[np.float32]],
    architecture: Architecture,
    config: NetworkConfig,
    rules: Rules,
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """A network of `variables`, whose rows of flattened regions run y, x, channel.

    Inputs: `images` float32 (batch, 3, height, width), RGB minus the mean, zero-padded on the right
    and bottom to a multiple of the configured stride; their int64 `sizes` (batch, 2: height, width)
    without padding; `score_threshold` float32 (); `limit` int64 (1,), the most detections per
    image; `with_masks` bool (1,).

    Outputs: of D detections, image after image and best first within each, `boxes` float32 (D, 4)
    in network coordinates, `scores` float32 (D,), `labels` int64 (D,) from 1, `images_of` int64
    (D,), and `masks` float32 (D, m, m) in their boxes, or (0, m, m) without; of P proposals
    `proposal_boxes` (P, 4), `proposal_scores` (P,), `proposal_images` (P,) and `class_scores`
    (P, 1 + classes).
    """
    flattened = {name: channels_first(variables[name]) for name in architecture.flattening}
    net = Net(fold({**variables, **flattened}, config))
    kind: type[C4 | Pyramid] = C4 if architecture.pyramid is None else Pyramid
    body = kind(net, architecture, config, rules)
    features = body.features("images")
    proposals = rpn.propose(net, body, features, "images", "sizes", config, rules)
    probabilities, class_boxes = heads.classify(
        net, body, features, proposals, "sizes", architecture, config
    )
    found = heads.select(
        net, probabilities, class_boxes, proposals, "score_threshold", "limit", architecture, config
    )
    outputs: dict[str, tuple[Value, int, Sequence[int | str]]] = {
        "boxes": (found.boxes, FLOAT, ["D", 4]),
        "scores": (found.scores, FLOAT, ["D"]),
        "labels": (found.labels, INT, ["D"]),
        "images_of": (found.images, INT, ["D"]),
        "proposal_boxes": (proposals.boxes, FLOAT, ["P", 4]),
        "proposal_scores": (proposals.scores, FLOAT, ["P"]),
        "proposal_images": (proposals.images, INT, ["P"]),
        "class_scores": (probabilities, FLOAT, ["P", 1 + architecture.classes]),
    }
    if architecture.has_masks:
        wanted = net("Cast", "with_masks", to=INT)
        side = 2 * body.mask_side
        soft = heads.masks(net, body, features, found, wanted)
        outputs["masks"] = (soft, FLOAT, ["M", side, side])
    inputs: dict[str, tuple[int, Sequence[int | str]]] = {
        "images": (FLOAT, ["N", 3, "H", "W"]),
        "sizes": (INT, ["N", 2]),
        "score_threshold": (FLOAT, []),
        "limit": (INT, [1]),
        "with_masks": (BOOL, [1]),
    }
    return net.model(inputs, outputs, metadata)
