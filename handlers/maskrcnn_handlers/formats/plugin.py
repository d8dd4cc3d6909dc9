"""Registers the formats of this package, by the hook that any plugin uses."""

from collections.abc import Callable

from maskrcnn_handlers.formats.coco_results import CocoResults
from maskrcnn_handlers.formats.cvat import Cvat
from maskrcnn_handlers.formats.geojson import GeoJSON
from maskrcnn_handlers.formats.instance_map import InstanceMap
from maskrcnn_handlers.formats.label_studio import LabelStudioBrush, LabelStudioPolygons
from maskrcnn_handlers.formats.labelme import Labelme
from maskrcnn_handlers.formats.overlay import Overlay, OverlayJpeg
from maskrcnn_handlers.formats.polygons import Polygons
from maskrcnn_handlers.formats.sagemaker import SageMaker
from maskrcnn_handlers.formats.soft import Soft
from maskrcnn_handlers.formats.yolo_seg import YoloSeg
from maskrcnn_server import hookimpl
from maskrcnn_server.formats import Format


@hookimpl
def register_formats(register: Callable[[Format], None]) -> None:
    """The notebooks' format, COCO's, the playground's, those of programs that people work with."""
    register(SageMaker())
    register(CocoResults())
    register(Polygons())
    register(GeoJSON())
    register(Labelme())
    register(YoloSeg())
    register(Cvat())
    register(LabelStudioBrush())
    register(LabelStudioPolygons())
    register(Overlay())
    register(OverlayJpeg())
    register(InstanceMap())
    register(Soft())
