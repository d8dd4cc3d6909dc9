#!/usr/bin/env python3
"""Export small Mask R-CNNs with the Object Detection API's own code, and compute what they find.

    make_models.py tf2 OUT; make_models.py tf1 OUT

Needs tensorflow-cpu 2.15.1 (Python 3.11), protobuf 3.20, tf-slim 1.1.0, and
tf-models-research-object-detection 2.8.0.post1 without its dependencies. `tf2` comes first: it
makes the weights. The original code is unmodified; what it imports and never calls is left out.
"""

import importlib.abc
import importlib.machinery
import re
import sys
import tarfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

ROOT = Path(__file__).resolve().parents[4]
LEFT_OUT = ("official", "tensorflow_io", "tensorflow_addons", "pycocotools", "lvis", "lxml")
LABELS = {1: "cat", 2: "dog", 4: "bird"}
CONFIG = """
model { faster_rcnn {
  number_of_stages: %(stages)d
  num_classes: 4
  image_resizer { keep_aspect_ratio_resizer { min_dimension: 96 max_dimension: 128 } }
  feature_extractor { type: "thin" first_stage_features_stride: 16 }
  first_stage_anchor_generator { grid_anchor_generator {
    scales: [0.25, 0.5] aspect_ratios: [0.5, 1.0, 2.0] height_stride: 16 width_stride: 16 } }
  first_stage_box_predictor_conv_hyperparams { %(conv)s }
  first_stage_box_predictor_depth: 8
  first_stage_nms_score_threshold: 0.0
  first_stage_nms_iou_threshold: 0.7
  first_stage_max_proposals: 20
  initial_crop_size: 14
  maxpool_kernel_size: 2
  maxpool_stride: 2
  second_stage_box_predictor { mask_rcnn_box_predictor {
    predict_instance_masks: true mask_height: 15 mask_width: 15
    mask_prediction_conv_depth: 8 mask_prediction_num_conv_layers: 2
    conv_hyperparams { %(conv)s } fc_hyperparams { op: FC %(conv)s } } }
  second_stage_post_processing {
    batch_non_max_suppression { score_threshold: 0.0 iou_threshold: 0.6
      max_detections_per_class: 10 max_total_detections: 15 }
    score_converter: SOFTMAX }
} }
"""
CONV = "regularizer { l2_regularizer { } } initializer { variance_scaling_initializer { } }"
NAMES = {
    r"^c(\d)": r"FirstStageFeatureExtractor/FirstStageFeatureExtractor/c\1",
    r"^second": "SecondStageFeatureExtractor/SecondStageFeatureExtractor/second",
    r"^RPNConv": "Conv",
    r"/Convolutional\w+Head_0": "",
    r"^mask_rcnn_\w+/mask_rcnn_mask_head/MaskPredictor_conv2d_0": "SecondStageBoxPredictor/Conv",
    r"^mask_rcnn_\w+/mask_rcnn_mask_head/MaskPredictor_last_\w+": "SecondStageBoxPredictor/Conv_1",
    r"^mask_rcnn_\w+/mask_rcnn_\w+_head/(\w+)_dense": r"SecondStageBoxPredictor/\1",
    "/kernel:": "/weights:",
    "/bias:": "/biases:",
}
"""Patterns in variables' names in TensorFlow 2, and what stands there in TensorFlow 1."""
SPREADS = {
    "rpn_box_encodings": ("FirstStageBoxPredictor/ConvolutionalBoxHead", 0.5),
    "rpn_objectness_predictions_with_background": (
        "FirstStageBoxPredictor/ConvolutionalClassHead",
        1.5,
    ),
    "refined_box_encodings": ("mask_rcnn_box_head", 2.0),
    "class_predictions_with_background": ("mask_rcnn_class_head", 2.0),
    "mask_predictions": ("MaskPredictor_last_conv2d", 3.0),
}
"""Layer that makes each output of the network, and the wanted spread."""


class LeftOut(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds empty modules in place of those that are never called."""

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] in LEFT_OUT or name.startswith("tensorflow.contrib"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        class Empty(types.ModuleType):
            def __getattr__(self, name: str) -> Any:
                if name.startswith("__"):
                    raise AttributeError(name)
                return type(name, (), {})

        return Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def configuration(stages: int = 3) -> Any:
    from google.protobuf import text_format
    from object_detection.protos import pipeline_pb2

    text = CONFIG % {"stages": stages, "conv": CONV}
    return text_format.Merge(text, pipeline_pb2.TrainEvalPipelineConfig())


def images() -> dict[str, Any]:
    read = {
        name: np.array(PIL.Image.open(ROOT / f"tests/images/{name}.png").convert("RGB"))
        for name in ("chelsea", "astronaut")
    }
    return {"chelsea": read["chelsea"], "astronaut": read["astronaut"][:, 100:380]}


def pack(folder: Path, target: Path, *parts: str) -> None:
    labels = "".join(
        f'item {{\n  id: {i}\n  name: "/m/0{i}"\n  display_name: "{name}"\n}}\n'
        for i, name in LABELS.items()
    )
    (folder / "label_map.pbtxt").write_text(labels)
    with tarfile.open(target, "w:xz") as archive:
        for part in ("pipeline.config", "label_map.pbtxt", *parts):
            archive.add(folder / part, part)


def save(target: Path, image: Any, found: dict[str, Any]) -> None:
    """Write what the network finds, and its masks as the original's evaluation pastes them."""
    import tensorflow as tf
    from object_detection.utils import ops

    kept = {k: v[0] for k, v in found.items() if k.startswith(("detection_b", "detection_s"))}
    kept |= {k: found[k][0] for k in ("detection_classes", "num_detections")}
    if "detection_masks" in found:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            reframed = ops.reframe_box_masks_to_image_masks(
                tf.constant(found["detection_masks"][0]),
                tf.constant(kept["detection_boxes"]),
                *image.shape[:2],
            )
            soft = session.run(reframed)
        kept["pasted"] = np.packbits(soft > 0.5)
        kept["near"] = np.flatnonzero(np.abs(soft - 0.5) < 1e-5)
    np.savez_compressed(target, **kept)


def tf2(out: Path) -> None:
    """The models of TensorFlow 2, with masks and without."""
    import tensorflow as tf
    from object_detection import exporter_lib_v2
    from object_detection.builders import model_builder
    from object_detection.meta_architectures import faster_rcnn_meta_arch

    class Thin(faster_rcnn_meta_arch.FasterRCNNKerasFeatureExtractor):  # type: ignore[misc]
        def __init__(self, is_training: bool, first_stage_features_stride: int, *_: Any) -> None:
            super().__init__(is_training, first_stage_features_stride)

        def preprocess(self, x: Any) -> Any:
            return x / 128.0 - 1.0

        def get_proposal_feature_extractor_model(self, name: str | None = None) -> Any:  # noqa: ARG002
            image = x = tf.keras.Input([None, None, 3])
            for i, channels in enumerate((8, 8, 12, 16)):
                x = tf.keras.layers.Conv2D(channels, 3, 2, "same", activation="relu", name=f"c{i}")(
                    x
                )
            return tf.keras.Model(image, x)

        def get_box_classifier_feature_extractor_model(self, name: str | None = None) -> Any:  # noqa: ARG002
            region = tf.keras.Input([None, None, 16])
            layer = tf.keras.layers.Conv2D(16, 3, 1, "same", activation="relu", name="second")
            return tf.keras.Model(region, layer(region))

    model_builder.FASTER_RCNN_KERAS_FEATURE_EXTRACTOR_CLASS_MAP["thin"] = Thin
    for name, stages in ("tf2", 3), ("tf2-boxes", 2):
        folder = out / name
        config = configuration(stages)
        model = model_builder.build(config.model, is_training=False)

        def run(image: Any, model: Any = model) -> dict[str, Any]:
            pixels, shape = model.preprocess(tf.cast(image[None], tf.float32))
            predicted = model.predict(pixels, shape)
            return {**predicted, **model.postprocess(predicted, shape)}

        run(images()["chelsea"])
        fill(model.variables, run)
        checkpoint = tf.train.Checkpoint(model=model)
        tf.train.CheckpointManager(checkpoint, str(folder / "train"), 1).save()
        exporter_lib_v2.export_inference_graph(
            "image_tensor", config, str(folder / "train"), str(folder)
        )
        pack(folder, Path(__file__).with_name(f"{name}.tar.xz"), "saved_model")
        module = exporter_lib_v2.DETECTION_MODULE_MAP["image_tensor"](model, False, [])
        for key, image in images().items():
            found = module.__call__(tf.constant(image[None]))
            found = {k: v.numpy() for k, v in found.items()}
            save(Path(__file__).with_name(f"{name}-{key}.npz"), image, found)
        if stages == 3:
            np.savez(out / "weights.npz", **{v.name: v.numpy() for v in model.variables})


def fill(variables: Any, run: Any) -> None:
    """Seeded weights; the last layers' outputs get a mean of 0 and the wanted spread."""
    random = np.random.default_rng(5)
    for variable in sorted(variables, key=lambda v: v.name):
        shape = variable.shape.as_list()
        spread = 0.1 if len(shape) < 2 else (2 / np.prod(shape[:-1])) ** 0.5
        variable.assign(random.normal(0, spread, shape))
    for output, (layer, spread) in SPREADS.items():
        own = {v.name.rpartition("/")[2][0]: v for v in variables if layer in v.name}
        if not own:
            continue
        kernel, bias = own["k"], own["b"]
        seen = [run(image)[output].numpy() for image in images().values()]
        if output == "mask_predictions":
            seen = [x.transpose(0, 2, 3, 1) for x in seen]
        x = np.concatenate([x.reshape(-1, bias.shape[0]) for x in seen])
        scale = spread / x.std(axis=0)
        kernel.assign(kernel * scale)
        bias.assign((bias - x.mean(axis=0)) * scale)


def tf1(out: Path) -> None:
    """The same network in TensorFlow 1: a frozen graph and a SavedModel."""
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()

    import tf_slim as slim
    from object_detection import exporter
    from object_detection.builders import model_builder
    from object_detection.meta_architectures import faster_rcnn_meta_arch

    class Thin(faster_rcnn_meta_arch.FasterRCNNFeatureExtractor):  # type: ignore[misc]
        def __init__(
            self, is_training: bool, stride: int, *_: Any, reuse_weights: Any = None
        ) -> None:
            super().__init__(is_training, stride, False, reuse_weights)

        def preprocess(self, x: Any) -> Any:
            return x / 128.0 - 1.0

        def _extract_proposal_features(self, x: Any, scope: str) -> Any:
            with tf.variable_scope(scope):
                for i, channels in enumerate((8, 8, 12, 16)):
                    x = slim.conv2d(x, channels, 3, 2, scope=f"c{i}")
            return x, {}

        def _extract_box_classifier_features(self, x: Any, scope: str) -> Any:
            with tf.variable_scope(scope):
                return slim.conv2d(x, 16, 3, scope="second")

    model_builder.FASTER_RCNN_FEATURE_EXTRACTOR_CLASS_MAP["thin"] = Thin
    exporter.profile_inference_graph = lambda _: None
    config, folder, name = configuration(), out / "tf1", {}
    weights = dict(np.load(out / "weights.npz"))
    for own in weights:
        there = own
        for pattern, other in NAMES.items():
            there = re.sub(pattern, other, there)
        name[there] = own
    folder.mkdir(exist_ok=True)
    with tf.Graph().as_default(), tf.Session() as session:
        model = model_builder.build(config.model, is_training=False)
        exporter.build_detection_graph("image_tensor", model, None, "outputs", None)
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables():
            if variable.name != "global_step:0":
                variable.load(weights[name[variable.name]], session)
        tf.train.Saver().save(session, str(folder / "trained"))
    exporter.export_inference_graph("image_tensor", config, str(folder / "trained"), str(folder))
    graph = tf.GraphDef.FromString((folder / "frozen_inference_graph.pb").read_bytes())
    pack(folder, Path(__file__).with_name("tf1.tar.xz"), "frozen_inference_graph.pb", "saved_model")
    for key, image in images().items():
        with tf.Graph().as_default(), tf.Session() as session:
            tf.import_graph_def(graph, name="")
            names = ("boxes", "scores", "classes", "masks")
            wanted = {n: f"{n}:0" for n in (*(f"detection_{n}" for n in names), "num_detections")}
            found = session.run(wanted, {"image_tensor:0": image[None]})
        save(Path(__file__).with_name(f"tf1-{key}.npz"), image, found)


if __name__ == "__main__":
    sys.meta_path.append(LeftOut())
    for kind in (int, float, bool, object):  # which NumPy no longer has
        setattr(np, kind.__name__, kind)
    import object_detection

    sys.path.append(str(Path(object_detection.__file__).parent))
    {"tf1": tf1, "tf2": tf2}[sys.argv[1]](Path(sys.argv[2]))
