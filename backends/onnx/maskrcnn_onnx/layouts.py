"""Layouts: which program wrote a model, recognised by its inputs and outputs.

Sources: torchvision, models/detection/{transform,roi_heads}.py; mmdetection 2.28,
tools/deployment/pytorch2onnx.py and mmdet/core/export; mmdeploy 1.3, configs/mmdet/_base_ and
mmdeploy/codebase/mmdet/models/roi_heads; onnx/models,
vision/object_detection_segmentation/mask-rcnn/README.md; maskrcnn-benchmark,
modeling/roi_heads/mask_head/inference.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_onnx.description import Description, Outputs, Preprocessing
from maskrcnn_onnx.proto import Header, Tensor
from maskrcnn_server.categories import coco, coco_with_gaps
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.rle import Size

NATIVE = "maskrcnn_server"
NATIVE_INPUTS = frozenset({"images", "sizes", "score_threshold", "limit", "with_masks"})
NATIVE_OUTPUTS = frozenset(
    "boxes scores labels images_of proposal_boxes proposal_scores proposal_images "
    "class_scores".split()
)
PARTS = ("boxes", "scores", "labels", "masks")
SCORED = 5
"""Count of numbers of a box with its score."""


@dataclass(frozen=True)
class Layout:
    """Inputs and outputs of a model, and its default description."""

    name: str
    image: Tensor
    """Input that takes an image, or a batch of images."""
    outputs: Outputs
    """Name of each output that the model has."""
    default: Description | None
    """Default description. None: the model must be described."""

    @property
    def has_masks(self) -> bool:
        """Whether the model computes masks."""
        return self.outputs.masks is not None

    @property
    def fixed_size(self) -> Size | None:
        """The only height and width of an image in pixels. None: any."""
        match (self.image.dims or ())[-2:]:
            case (int() as height, int() as width):
                return height, width
        return None


ZOO = Description(
    classes=tuple(category.name for category in coco()),
    dataset_ids=tuple(category.dataset_id for category in coco()),
    paste="pixels",
    preprocessing=Preprocessing(
        short_edge=800,
        long_edge=1333,
        rounding=0.0,
        resampling="pillow",
        channels="BGR",
        mean=(102.9801, 115.9465, 122.7717),
        multiple_of=32,
    ),
)
"""MaskRCNN-10 and -12 of the ONNX model zoo: images are prepared as in its README.md, masks are
pasted as in maskrcnn-benchmark, from which they were exported."""
TORCHVISION = Description(
    classes=tuple(category.name for category in coco_with_gaps()),
    preprocessing=Preprocessing(std=(255.0, 255.0, 255.0)),
)
"""`torch.onnx.export` of torchvision's `MaskRCNN`, which resizes and pastes masks itself."""
MMDETECTION = Description(
    classes=tuple(category.name for category in coco()),
    dataset_ids=tuple(category.dataset_id for category in coco()),
    first_label=0,
    score_threshold=0.3,
    preprocessing=Preprocessing(
        short_edge=800,
        long_edge=1333,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        multiple_of=32,
    ),
)
"""MMDetection's exports, with the pipeline of its Mask R-CNN configurations. Masks are those of the
network's input, 0 or 1, from its own exporter; 28 x 28 in their boxes from MMDeploy's."""


def recognised(header: Header, said: Description, path: Path) -> Layout:
    """The layout of the model in `path`. Outputs that `said` names are not guessed.

    Raises InvalidModel, listing inputs or outputs, if it is no Mask R-CNN that can be served.
    """
    names = {tensor.name for tensor in header.outputs}
    if {tensor.name for tensor in header.inputs} == NATIVE_INPUTS and names >= NATIVE_OUTPUTS:
        image = next(tensor for tensor in header.inputs if tensor.name == "images")
        masks = "masks" if "masks" in names else None
        outputs = Outputs(boxes="boxes", scores="scores", labels="labels", masks=masks)
        return Layout(NATIVE, image, outputs, None)
    image = _image(header, path)
    outputs = _outputs(header, said.outputs, path)
    by_name = {tensor.name: tensor for tensor in header.outputs}
    name, default = _author(image, outputs, by_name)
    return Layout(name, image, outputs, default)


def _image(header: Header, path: Path) -> Tensor:
    """The only input: float32 (3, height, width) or (batch, 3, height, width)."""
    if len(header.inputs) == 1:
        (image,) = header.inputs
        dims = image.dims or ()
        channels = dims[-3] if len(dims) in (3, 4) else None
        if image.dtype == "float32" and (channels == 3 or isinstance(channels, str)):
            return image
    raise InvalidModel(
        f"{path}: must have one input, float32 (3, height, width) or (batch, 3, height, width); "
        f"found: {_shown(header.inputs)}"
    )


def _outputs(header: Header, said: Outputs, path: Path) -> Outputs:
    """Each output by its name in `model.yaml`, else by its usual name, else by its shape."""
    by_name = {tensor.name: tensor for tensor in header.outputs}
    found: dict[str, str] = {}
    for part in PARTS:
        given = getattr(said, part)
        if given is not None and given not in by_name:
            raise InvalidModel(
                f"{path}: outputs.{part}: there is no output {given}; found: "
                f"{_shown(header.outputs)}"
            )
        name = given or next((alias for alias in NAMES[part] if alias in by_name), None)
        if name is not None:
            found[part] = name
    for part in PARTS:
        free = [t for t in header.outputs if t.name not in found.values()]
        fitting = [tensor.name for tensor in free if SHAPES[part](tensor)]
        if part not in found and len(fitting) == 1:
            found[part] = fitting[0]
    # Not all exporters declare that boxes end with scores.
    scored = "boxes" in found and _last(by_name[found["boxes"]]) != SCORED - 1
    missing = {"boxes", "labels"} - found.keys() | (
        {"scores"} - found.keys() if not scored else set()
    )
    if missing:
        raise InvalidModel(
            f"{path}: no output is recognised as {', '.join(sorted(missing))}; "
            f"found: {_shown(header.outputs)}; name it in model.yaml: "
            f"outputs: {{{sorted(missing)[0]}: NAME}}"
        )
    return Outputs.model_validate(found)


def _author(
    image: Tensor, outputs: Outputs, by_name: dict[str, Tensor]
) -> tuple[str, Description | None]:
    rank = len(image.dims or ())
    parts = set(outputs.model_dump(exclude_none=True).values())
    masks = None if outputs.masks is None else by_name[outputs.masks]
    if rank == 4 and outputs.scores is None:
        return "MMDetection", MMDETECTION
    # Other programs write more outputs: Detectron2, for example, the image's size.
    if by_name.keys() == parts and outputs.scores is not None:
        if masks is not None and rank == 3 and (masks.dims or ())[-2:] == (28, 28):
            return "ONNX model zoo", ZOO
        if masks is not None and masks.dtype == "float32" and _rank(masks) == 4:
            return "torchvision", TORCHVISION
        if masks is None and rank == 3 and parts <= set(PARTS):
            return "torchvision", TORCHVISION
    return "unknown", None


def _last(tensor: Tensor) -> int | str | None:
    return tensor.dims[-1] if tensor.dims else None


def _rank(tensor: Tensor) -> int:
    return len(tensor.dims or ())


def _is_scores(tensor: Tensor) -> bool:
    return tensor.dtype == "float32" and (
        _rank(tensor) == 1 or (_rank(tensor) == 2 and _last(tensor) not in (4, SCORED))
    )


NAMES = {
    "boxes": ("boxes", "dets", "pred_boxes"),
    "scores": ("scores",),
    "labels": ("labels", "classes", "pred_classes"),
    "masks": ("masks", "pred_masks"),
}
SHAPES: dict[str, Callable[[Tensor], bool]] = {
    "boxes": lambda t: t.dtype == "float32" and _rank(t) in (2, 3) and _last(t) in (4, SCORED),
    "scores": _is_scores,
    "labels": lambda t: t.dtype in ("int64", "int32") and _rank(t) in (1, 2),
    "masks": lambda t: t.dtype in ("float32", "bool", "uint8") and _rank(t) in (3, 4),
}


def _shown(tensors: tuple[Tensor, ...]) -> str:
    return (
        ", ".join(
            f"{t.name} {t.dtype} "
            + (
                "of any shape"
                if t.dims is None
                else f"({', '.join(str(d or '?') for d in t.dims)})"
            )
            for t in tensors
        )
        or "none"
    )
