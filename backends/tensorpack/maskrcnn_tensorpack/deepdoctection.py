"""deepdoctection's networks: TensorPack's, changed.

Its code has no defaults: all that matters is in the `conf_frcnn_*.yaml` of a model.
Source: deepdoctection 0.39, extern/tp/tpfrcnn/.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import Fraction, Pads
from maskrcnn_network.preparation import Triple
from maskrcnn_network.sources import Said, Texts, config_file, flat, read_content
from maskrcnn_network.tensorpack_config import FIELDS_BY_KEY, WITHOUT_EFFECT, TensorPackConfig
from maskrcnn_server import yaml_file
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidModel

FILES = "conf_frcnn*.yaml"
"""Pattern of the names of configurations, of which a model has one."""
OWN_KEY = "BACKBONE.BOTTLENECK"
"""Key that TensorPack's configuration does not have."""
GROUPS = 32
"""Groups of every ResNeXt."""
LEFT_OUT = (
    "MODE_FPN",
    "BACKBONE.STRIDE_1X1",
    "FPN.MRCNN_HEAD_FUNC",
    "MRCNN.HEAD_DIM",
    "TEST.RESULT_SCORE_THRESH_VIS",
)
"""TensorPack's keys that are not read here."""
RENAMED = {
    "PREPROC.TEST_SHORT_EDGE_SIZE": "PREPROC.SHORT_EDGE_SIZE",
    "RPN.TEST_PER_LEVEL_NMS_TOPK": "RPN.PER_LEVEL_NMS_TOPK",
    "RPN.TEST_PRE_NMS_TOPK": "RPN.PRE_NMS_TOPK",
    "RPN.TEST_POST_NMS_TOPK": "RPN.POST_NMS_TOPK",
    "TEST.FRCNN_NMS_THRESH": "OUTPUT.FRCNN_NMS_THRESH",
    "TEST.RESULTS_PER_IM": "OUTPUT.RESULTS_PER_IM",
    "TEST.RESULT_SCORE_THRESH": "OUTPUT.RESULT_SCORE_THRESH",
}
"""deepdoctection's names of renamed keys, by TensorPack's names."""
OWN = {OWN_KEY: "bottleneck", "OUTPUT.NMS_THRESH_CLASS_AGNOSTIC": "agnostic_nms_threshold"}
SHOWN_BY_WEIGHTS = frozenset(
    "has_masks classes class_names norm blocks cascade box_convs fc box_head pyramid_norm "
    "pyramid".split()
)
"""Fields that need not be configured."""
CLASSES = {
    "model-800000_inf_only": ("text", "title", "list", "table", "figure"),
    "model-1800000_inf_only": ("cell",),
    "model-1620000_inf_only": ("row", "column"),
}
"""Class names of the published models, by the names of their `.index` files without suffix.

Source: deepdoctection 0.39, extern/model.py, `ModelCatalog`.
"""


class _Loader(yaml_file.Loader):
    """Also reads tuples, as lists."""

    def construct_tuple(self, node: yaml.SequenceNode) -> list[Any]:
        return self.construct_sequence(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _Loader.construct_tuple)


def _read_yaml(path: Path) -> Any:
    return yaml_file.read(path, _Loader)


class DeepdoctectionConfig(TensorPackConfig):
    """Constants of inference."""

    fields_by_key: ClassVar[Mapping[str, str]] = {
        RENAMED.get(key, key): field for key, field in FIELDS_BY_KEY.items() if key not in LEFT_OUT
    } | OWN
    without_effect: ClassVar[frozenset[str]] = WITHOUT_EFFECT | frozenset(
        "TAG NUM_GPUS DATA.TRAIN_NUM_WORKERS DATA.CLASS_DICT TRAIN.LOG_DIR MRCNN.HEAD_DIM "
        "FPN.MRCNN_HEAD_FUNC".split()
    )
    former_keys: ClassVar[Mapping[str, str]] = {}
    read_yaml: ClassVar[Callable[[Path], Any]] = staticmethod(_read_yaml)

    bottleneck: Literal["resnet", "resnext_32xd4"] | None = None
    score_threshold: Fraction | None = 0.0
    """deepdoctection answers with all that reach `score_floor`."""

    @property
    def rgb_mean(self) -> Triple:
        """Mean subtracted from RGB pixels. `pixel_mean` is subtracted from BGR pixels as it is."""
        blue, green, red = self.pixel_mean
        return red, green, blue

    @property
    def rgb_std(self) -> Triple:
        """Divisor of RGB pixels. BGR pixels are divided by `pixel_std` as it is."""
        blue, green, red = self.pixel_std
        return red, green, blue

    @property
    def block_pads(self) -> Pads:
        """Those of a ResNeXt are TensorFlow's for maps with even sides, whatever
        `BACKBONE.TF_PAD_MODE` says."""
        return (0, 1) if self.bottleneck == "resnext_32xd4" else super().block_pads

    def contradictions(self, architecture: Architecture) -> list[str]:
        """Also what is missing."""
        found = super().contradictions(architecture)
        heads = "cascade" if architecture.cascade else "box"
        unused = {"box_regression_weights", "cascade_regression_weights"}
        unused -= {f"{heads}_regression_weights"}
        needed = set(self.fields_by_key.values()) - SHOWN_BY_WEIGHTS - unused
        missing = sorted(self.key(field) for field in needed - self.model_fields_set)
        if missing:
            found.append(
                f"{', '.join(missing)} missing: deepdoctection has no defaults; put the model's "
                f"own {FILES} next to the checkpoint"
            )
        return found

    def _other_traits(self, architecture: Architecture) -> Iterator[str]:
        if architecture.pyramid is None:
            yield "no feature pyramid, which deepdoctection's code needs"
        elif architecture.pyramid_norm == "group" and architecture.pyramid_biased:
            yield "a pyramid with biases, which deepdoctection's code leaves out"
        if architecture.has_masks:
            yield "a mask head, which deepdoctection's code cannot run"

    def _checkable(self, architecture: Architecture) -> dict[str, tuple[object, object]]:
        values = super()._checkable(architecture)
        kinds = {1: "resnet", GROUPS: "resnext_32xd4"}
        actual = kinds.get(architecture.groups, f"{architecture.groups} groups")
        return values | {"bottleneck": (self.bottleneck, actual)}


def texts(model_dir: Path) -> Texts:
    """What deepdoctection has put into a model folder besides weights: the configuration, and names
    of files that tell class names.

    Raises InvalidModel if there are several configurations.
    """
    names = sorted(path.name for path in model_dir.glob(FILES))
    if len(names) > 1:
        raise InvalidModel(
            f"{model_dir}: several configurations of deepdoctection; keep the one that belongs to "
            f"the checkpoint: {', '.join(names[:6])}"
        )
    published = (f"{stem}.index" for stem in CLASSES)
    return dict.fromkeys(names, _configuration) | dict.fromkeys(published, _class_names)


def is_meant(config: ModelConfig) -> bool:
    """Whether a model folder or its settings have a configuration of deepdoctection."""
    if OWN_KEY in config.overrides or any(config.model_dir.glob(FILES)):
        return True
    file = config_file(config.model_dir)
    return file is not None and OWN_KEY in dict(flat(read_content(file, _read_yaml, [], 0)))


def _configuration(path: Path) -> Said:
    notes: list[str] = []
    return dict(flat(read_content(path, _read_yaml, notes, 0))), "; ".join(notes) or None


def _class_names(path: Path) -> Said:
    return {"DATA.CLASS_NAMES": CLASSES[path.stem]}, None
