"""Kinds of files that no backend takes: by their first bytes, and by the names in them.

Nothing is parsed that could be hostile. Names of tensors and layers are text in all formats.
"""

import re
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_server.store.signatures import ZIP, signature
from maskrcnn_server.work import Meter, TooMuchWork, limited, meter, open_zip

MAX_TEXT = 4 << 20
"""Maximum bytes at the beginning of a file that are searched for names."""
MAX_WORDS = 512 << 10
"""Maximum bytes of the different words in which names are looked for."""
MAX_SHOWN = 100
"""Maximum length of a name in a description."""
WORD = re.compile(rb"[\w./]{6,200}")
"""Pattern of words that may be names. Longer ones are read in pieces."""
TENSOR = re.compile(rb"([\w.]+\.(?:weight|bias))[qh]?$")
"""Pattern of a tensor's name at the end of a word; pickles have `q` or `h` behind it."""
SAFETENSORS = (".safetensors", rb".{5}\0{3}\{\s*\"")
"""Suffix of a format that is read, and how its files begin."""
READ_STEPS = 50_000
"""Steps of work that looking at the beginning of a file takes."""
MAX_FILES = 20
"""Maximum number of files that are described."""
MAX_DEPTH = 4
"""Number of folders that a file may be below the one that is described."""
SUFFIXES = frozenset(
    ".bin .caffemodel .ckpt .engine .h5 .hdf5 .index .keras .mlmodel .npz .onnx .pb .pkl .plan .pt "
    ".pth .safetensors .tar .tflite .torchscript .weights".split()
)
"""Suffixes of files that hold models."""

READ = {
    "torchvision": (".pth", ".pt", ".ckpt", ".pth.tar"),
    "detectron2": (".pth", ".pt", ".ckpt", ".pth.tar", ".pkl"),
    **dict.fromkeys(("tensorpack", "aws_samples"), (".npz", ".index")),
    "matterport": (".h5", ".hdf5"),
    "mmdetection": (".pth",),
    "onnx": (".onnx",),
    "tf_object_detection": (".pb",),
}
"""Ends of the names of files that official backends read, besides those that are the same in
every framework. The first is that of a file whose name has another."""
READ_BY_ALL = (".npz", ".safetensors")
MAX_UNKNOWN = 100
"""Maximum number of files in a folder whose first bytes are read because their suffix is none."""
MODEL = re.compile(rb"PK\x03\x04|\x80[\x02-\x05]|\x89HDF|\x1f\x8b")
"""Pattern of the beginning of a file that may hold a model, whatever it is called."""


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    description: str
    """Predicate of a sentence about the file, and advice: `is empty: copy it again`."""
    backends: tuple[str, ...] = ()
    """Names of the official backends that may serve it."""


NOT_EXPORTED = Kind(
    "is a checkpoint of TensorFlow's Object Detection API: export it with its exporter_main_v2.py "
    "or, of TensorFlow 1, export_inference_graph.py"
)
FAMILIES = {
    r"roi_heads\.(box|mask)\.feature_extractor|backbone\.body\.stem\.conv1": Kind(
        "has the tensors of maskrcnn-benchmark, which no backend serves"
    ),
    r"backbone\.(bottom_up\.res2|stem|res2)\.": Kind(
        "has the tensors of Detectron2's networks with a ResNet", ("detectron2",)
    ),
    r"backbone\.bottom_up\.": Kind(
        "has the tensors of a Detectron2 network with another backbone; only ResNets are served"
    ),
    r"roi_head\.(mask|bbox)_head\.|rpn_head\.rpn_(cls|conv)": Kind(
        "has the tensors of MMDetection's networks of two stages", ("mmdetection",)
    ),
    r"bbox_head\.\w+\.weight": Kind(
        "has the tensors of MMDetection 1, or of a network of one stage; only Mask R-CNN, Cascade "
        "and Faster R-CNN of MMDetection 2 and 3 are served"
    ),
    r"backbone\.body\.layer1\.": Kind(
        "has the tensors of torchvision's networks with a ResNet and FPN", ("torchvision",)
    ),
    r"backbone\.body\.\d+\.(block|conv)\.\d & backbone\.fpn\.": Kind(
        "has the tensors of torchvision's networks with a MobileNet and FPN", ("torchvision",)
    ),
    r"backbone\.(body\.)?(features\.)?\d+\.\w & roi_heads|rpn\.head": Kind(
        "has the tensors of a torchvision network with another backbone; "
        "only ResNets and MobileNets with a feature pyramid (FPN) are served"
    ),
    r"group0/block0/conv1 & (rpn|fastrcnn|maskrcnn|fpn)/": Kind(
        "has the variables of TensorPack's and AWS Samples' networks", ("tensorpack", "aws_samples")
    ),
    r"group0/block0/conv1": Kind(
        "has the variables of an ImageNet backbone of TensorPack, without the heads of a Mask "
        "R-CNN: the checkpoint of the training is missing"
    ),
    r"mrcnn_(mask|bbox|class)|rpn_class_raw": Kind(
        "has the layers of Matterport's Mask_RCNN", ("matterport",)
    ),
    r"_feature_extractor_for_\w+_features|mask_rcnn_box_predictor/_box_pred": NOT_EXPORTED,
    r"(First|Second)StageBoxPredictor|FirstStageFeatureExtractor|detection_masks": Kind(
        "has the nodes of TensorFlow's Object Detection API", ("tf_object_detection",)
    ),
    r"res2_0_branch2a_w & rpn_cls_logits|mask_fcn|cls_score": Kind(
        "has the blobs of Caffe2's Detectron; only checkpoints of Detectron2 are served"
    ),
    r"res2_0_branch2a_w|\bres2\.0\.conv1\.|(?<!\.)layer1\.0\.conv1\.weight": Kind(
        "has the tensors of a ResNet alone, without the heads of a Mask R-CNN: the checkpoint of "
        "the training is missing"
    ),
    r"ultralytics|model\.\d+\.cv2\.": Kind("is a YOLO model of Ultralytics, not a Mask R-CNN"),
    r"class_embed|transformer\.(en|de)coder": Kind("is a transformer, not a Mask R-CNN"),
}
"""Frameworks by patterns, with `&` between them, that all occur among the names of a file's
tensors, variables or layers. The most particular family comes first."""

BY_SUFFIX = {
    ".onnx": Kind("is a model in ONNX", ("onnx",)),
    ".tflite": Kind("is a model of TensorFlow Lite, which no backend serves"),
    ".engine": Kind("is an engine of TensorRT, which no backend serves: use the checkpoint"),
    ".plan": Kind("is an engine of TensorRT, which no backend serves: use the checkpoint"),
    ".caffemodel": Kind("is a model of Caffe, which no backend serves"),
    ".mlmodel": Kind("is a model of Core ML, which no backend serves"),
}


def kind(path: Path) -> Kind | None:
    """The kind of this file. None if nothing shows it. Raises OSError if it cannot be read."""
    counter = meter(path)
    counter.spend(READ_STEPS)
    with path.open("rb") as file:
        text = file.read(MAX_TEXT)
    return (
        _by_first_bytes(path, text, counter)
        or _by_names(text, path, counter)
        or BY_SUFFIX.get(path.suffix)
    )


def described(folder: Path, installed: Collection[str]) -> list[str]:
    """A line about each file of a model in a folder: what it is and what to do.

    `installed` names the backends that have been asked. Files that cannot be read are left out.
    """
    with limited():
        return list(_described(folder, installed))


def _described(folder: Path, installed: Collection[str]) -> Iterator[str]:
    for path in _files(folder):
        try:
            found = kind(path) or _without_names(path)
        except TooMuchWork as error:
            yield error.message
            return
        except OSError:
            continue
        if found is None:
            continue
        line = f"{path.relative_to(folder)} {found.description}"
        missing = [name for name in found.backends if name not in installed]
        if missing and len(missing) == len(found.backends):
            yield f"{line}: {_install(missing)}"
        elif not found.backends:
            yield line
        elif not path.name.endswith(ends := (*READ[found.backends[0]], *READ_BY_ALL)):
            yield f"{line}: rename it to {path.stem}{ends[0]}"


def _without_names(path: Path) -> Kind | None:
    if not zipfile.is_zipfile(path):
        return None
    with open_zip(path, meter(path)) as archive:
        if not any(name.endswith("data.pkl") for name in archive.namelist()):
            return None
    return Kind("is a file of PyTorch without a state dict: save model.state_dict()")


def _install(backends: list[str]) -> str:
    packages = " or ".join(f"`pip install maskrcnn-{name.replace('_', '-')}`" for name in backends)
    return f"{packages} installs its backend"


def _files(folder: Path) -> list[Path]:
    """The first files of models in a folder and below, the nearest first."""
    below = [folder]
    files: list[Path] = []
    for _ in range(MAX_DEPTH + 1):
        inside = sorted(p for f in below for p in f.iterdir() if not p.name.startswith("."))
        unknown = [p for p in inside if p.suffix.lower() not in SUFFIXES and p.is_file()]
        unnamed = [p for p in unknown[:MAX_UNKNOWN] if _begins_as_model(p)]
        files += [p for p in inside if p.suffix.lower() in SUFFIXES and p.is_file()] + unnamed
        below = [p for p in inside if p.is_dir() and not p.is_symlink()]
        if len(files) >= MAX_FILES or len(below) > MAX_FILES:
            break
    return files[:MAX_FILES]


def _begins_as_model(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return MODEL.match(file.read(4)) is not None
    except OSError:
        return False


def _by_first_bytes(path: Path, text: bytes, meter: Meter) -> Kind | None:
    if (told := signature(path)) is not None:
        return Kind(told)
    if path.suffix != SAFETENSORS[0] and re.match(SAFETENSORS[1], text[:1024], re.DOTALL):
        return Kind("is in safetensors' format: rename it to model.safetensors")
    return _zip(path, meter) if text.startswith(ZIP) else None


def _zip(path: Path, meter: Meter) -> Kind | None:
    with open_zip(path, meter) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return Kind(
            "is a TorchScript program, not a state dict: save model.state_dict() with torch.save"
        )
    if "model.weights.h5" in names:
        return Kind("is a model of Keras, which no backend serves")
    return None


def _by_names(text: bytes, path: Path, meter: Meter) -> Kind | None:
    names = _words(_listed(text, path, meter))
    for patterns, found in FAMILIES.items():
        if all(re.search(pattern, names) for pattern in patterns.encode().split(b" & ")):
            if path.suffix == ".index" and found.backends == ("tf_object_detection",):
                return NOT_EXPORTED
            shown = ", ".join(_shown(names))
            some = f" ({shown})" if shown else ""
            return Kind(f"{found.description}{some}", found.backends)
    if text.startswith(b"\x89HDF\r\n"):
        return Kind("is a file of Keras (HDF5), which no backend serves")
    if path.suffix == ".pb":
        return Kind("is a graph of TensorFlow, which no backend serves: use the checkpoint")
    if shown := ", ".join(_shown(names)):
        return Kind(f"has tensors that no backend knows ({shown})")
    return None


def _listed(text: bytes, path: Path, meter: Meter) -> bytes:
    """The bytes with the names of tensors: the file's beginning, or a zip file's members."""
    if not text.startswith(ZIP):
        return text
    try:
        with open_zip(path, meter) as archive:
            names = "\n".join(archive.namelist()).encode()
            for program in (i for i in archive.infolist() if i.filename.endswith("data.pkl")):
                with archive.open(program) as file:
                    return names + file.read(MAX_TEXT)
            return names
    # Beyond a damaged file's errors: its compression may be unknown, or it may be encrypted.
    except (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, EOFError):
        return text


def _words(text: bytes) -> bytes:
    """The different words of a text that may be names, one in each line."""
    words = dict.fromkeys(WORD.findall(text))
    return b"\n".join(words)[:MAX_WORDS]


def _shown(names: bytes) -> list[str]:
    """The first and the last name of a tensor."""
    lines = names.split(b"\n")
    found = [next(filter(None, map(_tensor, order)), None) for order in (lines, lines[::-1])]
    return [name.decode() for name in dict.fromkeys(found) if name]


def _tensor(word: bytes) -> bytes | None:
    """The name of a weight or bias in a word, without what the format writes behind it."""
    found = TENSOR.search(word[-MAX_SHOWN:])
    return found and found[1]
