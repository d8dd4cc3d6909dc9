"""TensorPack's own code as an engine.

It is called like in `predict.py` of examples/FasterRCNN.
"""

from typing import Any

import numpy as np

from maskrcnn_network.folder import ModelFolder
from maskrcnn_network.original import Code, Job, Original, Raw, set_key, tensor
from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_server.backend import Image

DATA_SET = "served"
"""Name of a data set that has classes but no images."""


def load(job: Job) -> Code:
    """Import the checkout, configure it, load the model."""
    _restore_names()
    from config import config, finalize_configs
    from dataset import DatasetRegistry

    DatasetRegistry.register(DATA_SET, lambda: None)
    DatasetRegistry.register_metadata(DATA_SET, "class_names", list(job.class_names))
    config.freeze(False)
    for key, value in {**job.settings, "DATA.TRAIN": DATA_SET, "DATA.VAL": DATA_SET}.items():
        set_key(config, key, value)
    finalize_configs(is_training=False)
    return TensorPackCode(job, config)


class TensorPackCode:
    """A model in TensorPack's `OfflinePredictor`."""

    def __init__(self, job: Job, config: Any) -> None:
        from modeling.generalized_rcnn import ResNetC4Model, ResNetFPNModel
        from tensorpack.predict import OfflinePredictor, PredictConfig
        from tensorpack.tfutils import get_model_loader

        model = ResNetFPNModel() if config.MODE_FPN else ResNetC4Model()
        inputs, outputs = model.get_inference_tensor_names()
        self._predictor = OfflinePredictor(
            PredictConfig(
                model=model,
                session_init=get_model_loader(str(job.checkpoint)),
                input_names=inputs,
                output_names=outputs,
            )
        )
        graph = self._predictor.sess.graph
        if config.MODE_FPN:
            norm = config.FPN.NORM == "GN"
            maps = [
                f"fpn/gn_p{i}/output_1" if norm else f"fpn/posthoc_3x3_p{i}/output"
                for i in range(2, 6)
            ]
            maps.append("fpn/maxpool_p6/output")
            rpn = "generate_fpn_proposals"
        else:
            maps = [f"group2/block{config.BACKBONE.RESNET_NUM_BLOCKS[2] - 1}/output"]
            rpn = "generate_rpn_proposals"
        self._features = [tensor(graph, name) for name in maps]
        self._stages = [tensor(graph, name) for name in (f"{rpn}/boxes", "fastrcnn_all_scores")]
        self._image = tensor(graph, inputs[0])
        self._outputs = [tensor(graph, name) for name in outputs]

    def run(self, image: Image, features: bool) -> Raw:
        """Call the framework's own `predict_image`, which resizes and pastes."""
        from eval import predict_image

        seen: dict[str, Any] = {}
        fetched = [*self._outputs, *self._stages, *(self._features if features else [])]
        count = len(self._outputs)

        def network(resized: Any) -> Any:
            values = self._predictor.sess.run(fetched, {self._image: resized})
            seen["resized"], seen["values"] = resized, values
            return values[:count]

        results = predict_image(np.ascontiguousarray(image[:, :, ::-1]), network)
        boxes, scores, labels, *soft = seen["values"][:count]
        proposals, class_scores, *maps = seen["values"][count:]
        return Raw(
            resized=np.ascontiguousarray(seen["resized"][:, :, ::-1]),
            features=tuple(m[0].transpose(1, 2, 0) for m in maps),
            proposals=proposals,
            class_scores=class_scores,
            boxes=boxes,
            scores=scores,
            labels=labels.astype(np.int64),
            soft_masks=soft[0] if soft else None,
            image_boxes=np.array([r.box for r in results], np.float32).reshape(-1, 4),
            bitmaps=np.array([r.mask for r in results], np.bool_).reshape(-1, *image.shape[:2])
            if soft
            else None,
        )


def settings(folder: ModelFolder[TensorPackConfig]) -> dict[str, Any]:
    """The architecture in TensorPack's configuration."""
    architecture = folder.architecture
    box, mask = architecture.box_convs, architecture.mask_convs
    said: dict[str, Any] = {
        "MODE_FPN": architecture.pyramid is not None,
        "MODE_MASK": architecture.has_masks,
        "BACKBONE.RESNET_NUM_BLOCKS": list(architecture.blocks),
        "BACKBONE.NORM": "GN" if architecture.group_norm else "FreezeBN",
        "MRCNN.HEAD_DIM": architecture.mask,
    }
    if architecture.pyramid is None:
        said["RPN.HEAD_DIM"] = architecture.rpn.width
        return said
    box_kind = "4conv1fc" if box.count else "2fc"
    return said | {
        "FPN.NUM_CHANNEL": architecture.pyramid,
        "FPN.NORM": "GN" if architecture.pyramid_norm == "group" else "None",
        "FPN.CASCADE": architecture.cascade,
        "FPN.FRCNN_HEAD_FUNC": f"fastrcnn_{box_kind}{_gn(box.norm)}_head",
        "FPN.FRCNN_CONV_HEAD_DIM": box.width,
        "FPN.FRCNN_FC_HEAD_DIM": architecture.fc[0][1],
        "FPN.MRCNN_HEAD_FUNC": f"maskrcnn_up4conv{_gn(mask.norm)}_head",
    }


ORIGINAL = Original[TensorPackConfig](
    option="fasterrcnn",
    variable="TENSORPACK_FASTERRCNN",
    what="a checkout of TensorPack's examples/FasterRCNN",
    modules=("config.py", "eval.py", "dataset/__init__.py", "modeling/generalized_rcnn.py"),
    packages=("tensorpack==0.11", "tf-keras>=2.20", "scipy<1.14", "pycocotools", "tabulate"),
    settings=settings,
    load=load,
)


def _gn(norm: str) -> str:
    return "_gn" if norm == "group" else ""


def _restore_names() -> None:
    """Restore names that TensorFlow 2 dropped and this code uses."""
    import tensorflow as tf

    tf.get_variable = tf.compat.v1.get_variable
    tf.variable_scope = tf.compat.v1.variable_scope
    tf.nn.moments = tf.compat.v1.nn.moments
