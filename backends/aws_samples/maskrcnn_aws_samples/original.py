"""AWS Samples' own code as an engine.

It is called like in `MaskRCNN/train.py --predict`, one image at a time. The checkout contains a
TensorPack of its own, whose layers take seeds; the code does not run with the published one.
"""

import sys
from types import ModuleType
from typing import Any

import numpy as np

from maskrcnn_aws_samples.config import AwsSamplesConfig
from maskrcnn_network.folder import ModelFolder
from maskrcnn_network.original import Code, Job, Original, Raw, set_key, tensor
from maskrcnn_server.backend import Image
from maskrcnn_server.errors import InvalidModel, InvalidSetting

MODULES = "MaskRCNN"
"""Folder of the checkout's modules, which import each other with and without its name."""


def load(job: Job) -> Code:
    """Import the checkout, configure it, load the model. Raises RuntimeError without a GPU."""
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        raise RuntimeError(
            "it needs a GPU, but TensorFlow finds none: "
            "tf.image.generate_bounding_box_proposals, which it uses, has no kernel for CPUs"
        )
    # TF32 keeps ten bits of a factor, too few to compare stages.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    sys.path.insert(0, str(job.checkout / MODULES))
    _restore_names()
    from config import config, finalize_configs

    given = {
        **job.settings,
        "DATA.NUM_CATEGORY": len(job.class_names) - 1,
        "DATA.CLASS_NAMES": list(job.class_names),
        "TEST.BATCH_SIZE_PER_GPU": 1,
        # Independent of the machine that trained the model.
        "TRAIN.NUM_GPUS": None,
    }
    config.freeze(False)
    for key, value in given.items():
        set_key(config, key, value)
    finalize_configs(is_training=False)
    return AwsSamplesCode(job, config)


class AwsSamplesCode:
    """A model in the `OfflinePredictor` of the checkout's TensorPack."""

    def __init__(self, job: Job, config: Any) -> None:
        from model.generalized_rcnn import ResNetFPNModel
        from tensorpack.predict.base import OfflinePredictor
        from tensorpack.predict.config import PredictConfig
        from tensorpack.tfutils.sessinit import get_model_loader

        model = ResNetFPNModel()
        inputs, outputs = model.get_inference_tensor_names()
        predictor = OfflinePredictor(
            PredictConfig(
                model=model,
                session_init=get_model_loader(str(job.checkpoint)),
                input_names=inputs,
                output_names=outputs,
            )
        )
        self._session = predictor.sess
        graph = predictor.sess.graph
        self._inputs = [tensor(graph, name) for name in inputs]
        self._outputs = [tensor(graph, name) for name in outputs]
        stages = ("generate_fpn_proposals/boxes", "fastrcnn_all_scores")
        self._stages = [tensor(graph, name) for name in stages]
        maps = [f"gn_p{i}" if config.FPN.NORM == "GN" else f"posthoc_3x3_p{i}" for i in range(2, 6)]
        self._features = [tensor(graph, f"fpn/{name}/output") for name in (*maps, "maxpool_p6")]
        self._axes = (1, 2, 0) if config.TRAIN.FPN_NCHW else (0, 1, 2)

    def run(self, image: Image, features: bool) -> Raw:
        """Call the framework's own `predict_image`, which resizes and pastes.

        It expects a network for one image; the framework's takes batches.
        """
        from eval import predict_image

        seen: dict[str, Any] = {}
        fetched = [*self._outputs, *self._stages, *(self._features if features else [])]
        count = len(self._outputs)

        def network(resized: Any) -> Any:
            batch = [resized[None], [resized.shape]]
            values = self._session.run(fetched, dict(zip(self._inputs, batch, strict=True)))
            seen["resized"], seen["values"] = resized, values
            _, *found = values[:count]
            return found

        results = predict_image(np.ascontiguousarray(image[:, :, ::-1]), network)
        _, boxes, scores, labels, *soft = seen["values"][:count]
        proposals, class_scores, *maps = (value[0] for value in seen["values"][count:])
        return Raw(
            resized=np.ascontiguousarray(seen["resized"][:, :, ::-1]),
            features=tuple(m.transpose(self._axes) for m in maps),
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


def settings(folder: ModelFolder[AwsSamplesConfig]) -> dict[str, Any]:
    """The architecture in the framework's configuration.

    Raises InvalidModel or InvalidSetting if this code, branch `master`, does not support it.
    """
    architecture = folder.architecture
    if architecture.pyramid is None or architecture.cascade:
        raise InvalidModel(
            f"engine original: AWS Samples' code does not support {architecture.description}, "
            "only networks with a feature pyramid and one box head"
        )
    if folder.rows == "channel first":
        raise InvalidSetting(
            "AWS_SAMPLES_VARIANT=tf1: engine original runs AWS Samples' branch master, which reads "
            "the rows of fc6 channel last: choose another engine"
        )
    if folder.config.short_edge is None:
        raise InvalidSetting(
            "engine original: AWS Samples' code always resizes: set AWS_SAMPLES_RESIZE=true, or "
            "choose another engine"
        )
    box, mask = architecture.box_convs, architecture.mask_convs
    box_kind = "4conv1fc" if box.count else "2fc"
    return {
        "MODE_FPN": True,
        "MODE_MASK": architecture.has_masks,
        "BACKBONE.RESNET_NUM_BLOCKS": list(architecture.blocks),
        "BACKBONE.NORM": "GN" if architecture.group_norm else "FreezeBN",
        "FPN.NUM_CHANNEL": architecture.pyramid,
        "FPN.NORM": "GN" if architecture.pyramid_norm == "group" else "None",
        "FPN.BOXCLASS_HEAD_FUNC": f"boxclass_{box_kind}{_gn(box.norm)}_head",
        "FPN.BOXCLASS_CONV_HEAD_DIM": box.width,
        "FPN.BOXCLASS_FC_HEAD_DIM": architecture.fc[0][1],
        "FPN.MRCNN_HEAD_FUNC": f"maskrcnn_up4conv{_gn(mask.norm)}_head",
        "MRCNN.HEAD_DIM": architecture.mask,
    }


ORIGINAL = Original[AwsSamplesConfig](
    option="maskrcnn",
    variable="AWS_MASKRCNN",
    what="a checkout of AWS Samples' mask-rcnn-tensorflow",
    modules=(
        f"{MODULES}/config.py",
        f"{MODULES}/eval.py",
        f"{MODULES}/model/generalized_rcnn.py",
        "tensorpack/__init__.py",
    ),
    packages=(
        "tf-keras>=2.20",
        "scipy<1.14",
        "pycocotools",
        *"msgpack msgpack-numpy psutil pyzmq six tabulate termcolor tqdm".split(),
    ),
    settings=settings,
    load=load,
)


def _gn(norm: str) -> str:
    return "_gn" if norm == "group" else ""


def _restore_names() -> None:
    """Restore names that this code uses, but that NumPy dropped or a server lacks."""
    vars(np)["float"] = float
    # model/rpn.py imports an unused name from Python's turtle graphics, which need Tk.
    turtle = ModuleType("turtle")
    vars(turtle)["shape"] = None
    sys.modules.setdefault("turtle", turtle)
