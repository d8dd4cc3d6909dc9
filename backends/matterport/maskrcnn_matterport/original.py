"""Matterport's own code as an engine, unchanged, under TensorFlow 2 and tf-keras."""

import sys
import tempfile
from collections.abc import Callable
from functools import wraps
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from maskrcnn_matterport.config import MatterportConfig
from maskrcnn_network.folder import ModelFolder
from maskrcnn_network.original import Code, Job, Original, Raw
from maskrcnn_network.preparation import Floats
from maskrcnn_server.backend import Image

MAPS = tuple(f"fpn_p{level}" for level in (2, 3, 4, 5, 6))
OURS = ("CLASS_NAMES",)
"""Keys that Matterport does not have."""


def load(job: Job) -> Code:
    """Import the checkout, configure it, load the weights."""
    library, base = _imported()
    arrays = {k: np.array(v) if isinstance(v, list | tuple) else v for k, v in job.settings.items()}
    config = type("Served", (base,), {key: arrays[key] for key in arrays if key not in OURS})()
    model = library.MaskRCNN("inference", config, tempfile.gettempdir())
    model.load_weights(str(job.checkpoint), by_name=True)
    return MatterportCode(model)


class MatterportCode:
    """A model of the class `MaskRCNN` for inference."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def run(self, image: Image, features: bool) -> Raw:
        """The steps of the framework's own `detect`, each by its own code."""
        model = self._model
        molded, metas, windows = model.mold_inputs([image])
        shape, window = molded[0].shape, windows[0]
        inputs = [molded, metas, model.get_anchors(shape)[None]]
        network = model.keras_model
        detections, classes, _, masks, rois, *_ = network.predict(inputs, verbose=0)
        top, left, bottom, right = map(int, window)
        # Row by row, since rows without an area are left out.
        rows, unmolded = [], []
        for i in range(len(detections[0])):
            one = detections[0][i : i + 1], masks[0][i : i + 1]
            found = model.unmold_detections(*one, image.shape, shape, window)
            if len(found[1]):
                rows.append(i)
                unmolded.append(found)
        own = detections[0][rows]
        labels = own[:, 4].astype(np.int64)
        pixels = np.rint(molded[0] + model.config.MEAN_PIXEL)[top:bottom, left:right]
        return Raw(
            resized=pixels.astype(np.uint8),
            features=self._maps(inputs) if features else (),
            proposals=_in_pixels(rois[0], shape, window),
            class_scores=classes[0],
            boxes=_in_pixels(own[:, :4], shape, window),
            scores=own[:, 5],
            labels=labels,
            soft_masks=masks[0][rows, :, :, labels],
            image_boxes=np.array([f[0][0] for f in unmolded], np.float32).reshape(-1, 4)[
                :, [1, 0, 3, 2]
            ],
            bitmaps=np.array([f[3][:, :, 0] for f in unmolded], np.bool_).reshape(
                -1, *image.shape[:2]
            ),
        )

    def _maps(self, inputs: list[Any]) -> tuple[Floats, ...]:
        import tf_keras

        network = self._model.keras_model
        outputs = [network.get_layer(name).output for name in MAPS]
        found = tf_keras.Model(network.inputs, outputs).predict(inputs, verbose=0)
        return tuple(maps[0] for maps in found)


def _in_pixels(boxes: Floats, shape: tuple[int, ...], window: Any) -> Floats:
    """Boxes x1, y1, x2, y2 in pixels of the resized image, from y1, x1, y2, x2 as shares."""
    scale = np.array([shape[1] - 1, shape[0] - 1] * 2, np.float32)
    shift = np.array([-window[1], -window[0], 1 - window[1], 1 - window[0]], np.float32)
    return np.asarray(boxes[:, [1, 0, 3, 2]] * scale + shift, np.float32)


def settings(folder: ModelFolder[MatterportConfig]) -> dict[str, Any]:
    """The architecture in Matterport's configuration. All scores are asked for."""
    architecture = folder.architecture
    return {
        "NAME": "served",
        "GPU_COUNT": 1,
        "IMAGES_PER_GPU": 1,
        "BACKBONE": architecture.name,
        "NUM_CLASSES": architecture.classes + 1,
        "TOP_DOWN_PYRAMID_SIZE": architecture.pyramid,
        "FPN_CLASSIF_FC_LAYERS_SIZE": architecture.fc[0][1],
        **folder.configured,
        "DETECTION_MIN_CONFIDENCE": 0,
    }


ORIGINAL = Original[MatterportConfig](
    option="mask_rcnn",
    variable="MATTERPORT_MASK_RCNN",
    what="a folder with Matterport's mrcnn/model.py: a clone, or an unpacked wheel mrcnn-tf115",
    modules=("mrcnn/model.py", "mrcnn/config.py", "mrcnn/utils.py"),
    packages=("tensorflow>=2.16", "tf-keras>=2.16", "scikit-image>=0.20", "h5py"),
    settings=settings,
    load=load,
)


def _imported() -> tuple[Any, type]:
    """`mrcnn.model`, and the class `Config`; the names of TensorFlow 1 and Keras 2 are theirs while
    they are imported."""
    import tensorflow as tf
    import tf_keras
    from tf_keras.src.saving.legacy import hdf5_format

    def load_weights(file: Any, layers: Any) -> None:
        seen = SimpleNamespace(layers=layers, _flatten_layers=lambda **_: iter(layers))
        hdf5_format.load_weights_from_hdf5_group_by_name(file, seen)

    keras, engine, topology = (ModuleType(f"keras{n}") for n in ("", ".engine", ".engine.topology"))
    vars(keras).update(vars(tf_keras) | {"__name__": "keras", "__version__": "2.3.1"})
    vars(engine).update(Layer=_layer(tf_keras.layers.Layer), topology=topology, __path__=[])
    vars(topology).update(load_weights_from_hdf5_group_by_name=load_weights)
    vars(keras).update(engine=engine, __path__=[])
    shown = {
        "tensorflow": tf.compat.v1,
        "keras": keras,
        "keras.engine": engine,
        "keras.engine.topology": topology,
        **{f"keras.{n}": getattr(tf_keras, n) for n in ("layers", "backend", "models")},
    }
    before = {name: sys.modules.get(name) for name in shown}
    sys.modules.update(shown)
    from mrcnn import config, model

    for name, module in before.items():
        if name == "tensorflow" and module is not None:
            sys.modules[name] = module
    return model, config.Config


def _layer(base: Any) -> Any:
    """A layer whose output has the static shape that it declares, as in Keras 2.0 to 2.3."""

    class Layer(base):  # type: ignore[misc]
        def __init_subclass__(cls, **more: Any) -> None:
            super().__init_subclass__(**more)
            cls.call = _shaped(cls.call)

    return Layer


def _shaped(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def shaped(self: Any, inputs: Any) -> Any:
        output = call(self, inputs)
        output.set_shape(self.compute_output_shape([tuple(x.shape) for x in inputs]))
        return output

    return shaped
