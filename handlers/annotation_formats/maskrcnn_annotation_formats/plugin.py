"""Images to look at, formats of annotation tools, and the command that converts stored results."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command
from maskrcnn_server.formats import Format

api_version = "1.0"
EXAMPLES = ("maskrcnn-server convert-results old/*.json --format coco --out results.json",)
"""Command lines that `--help` shows."""


@hookimpl
def register_formats(register: Callable[[Format], None]) -> None:
    """Images to look at, polygons, GeoJSON, and the formats of labelme, YOLO, CVAT and Label
    Studio."""
    from maskrcnn_annotation_formats.cvat import Cvat
    from maskrcnn_annotation_formats.geojson import GeoJSON
    from maskrcnn_annotation_formats.instance_map import InstanceMap
    from maskrcnn_annotation_formats.label_studio import LabelStudioBrush, LabelStudioPolygons
    from maskrcnn_annotation_formats.labelme import Labelme
    from maskrcnn_annotation_formats.overlay import Overlay, OverlayJpeg
    from maskrcnn_annotation_formats.polygons import Polygons
    from maskrcnn_annotation_formats.yolo_seg import YoloSeg

    for form in (
        *(Overlay(), OverlayJpeg(), InstanceMap()),
        *(Polygons(), GeoJSON(), Labelme(), YoloSeg(), Cvat()),
        *(LabelStudioBrush(), LabelStudioPolygons()),
    ):
        register(form)


@hookimpl
def register_commands(register: Callable[[Command], None]) -> None:
    """`convert-results`."""
    from maskrcnn_annotation_formats.convert_results import convert_results

    register(Command("convert-results", convert_results, "Results", EXAMPLES))
