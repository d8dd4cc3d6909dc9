"""Masks, written in each format and read again as the program does that the format is for.

pycocotools, shapely, Pillow, cvat-sdk and label-studio-converter read them themselves. labelme and
ultralytics are too large to install for that; how they read is written down here.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
import shapely
from label_studio_converter import Converter, brush
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_server.backend import ModelMetadata
from maskrcnn_server.categories import coco
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import RequestError
from maskrcnn_server.formats import Format, Prediction
from maskrcnn_server.masks import BitMasks
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.rle import Size

# pycocotools 2.0.11 hands numpy an array in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Bitmaps: TypeAlias = NDArray[np.bool_]
Read: TypeAlias = Callable[[bytes, Size], list[Bitmaps]]

SIZE = (120, 160)
MODEL = ModelMetadata(name="m", backend="fake", categories=coco(), score_threshold=0.5)


def made_up() -> dict[str, Bitmaps]:
    """Masks by what is hard about them."""
    y, x = np.indices(SIZE) + 0.5
    distance = np.hypot(y - 60, x - 80)
    coarse = np.random.default_rng(3).random((6, 8)).astype(np.float32)
    smooth = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)
    thin = np.abs(x - y - 20) < 1.2
    return {
        "blob": distance < 30 + 9 * np.sin(5 * np.arctan2(y - 60, x - 80)),
        "corner": (x < 30) & (y < 20),
        "holes": (distance < 55) & (np.abs(np.abs(x - 80) - 20) > 9),
        "parts": smooth > 0.62,
        "thin": thin,
        "pixel": (x == 7.5) & (y == 9.5),
        "edge": (y > 100) & (x > 100),
        "full": y > 0,
        "small ring": (np.abs(np.hypot(y - 20, x - 130) - 6)) < 2,
    }


MASKS = made_up()


def prediction(drawn: Mapping[str, Bitmaps] = MASKS, /, **parts: Any) -> Prediction:
    bitmaps = np.array(list(drawn.values()))
    boxes = [coco_mask.toBbox(coco_mask.encode(np.asfortranarray(b, np.uint8))) for b in bitmaps]
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    found = Detections(
        size=SIZE,
        boxes=corners,
        scores=np.linspace(0.95, 0.55, len(bitmaps), dtype=np.float32),
        category_ids=np.arange(1, len(bitmaps) + 1),
        masks=BitMasks(bitmaps),
    )
    found = Detections(**vars(found) | parts)
    image = np.full((*SIZE, 3), 90, np.uint8)
    return Prediction(image_id="street/7.png", image=image, detections=found, model=MODEL)


@pytest.fixture(scope="module")
def formats() -> Mapping[str, Format]:
    return Plugins().formats()


def of_centres(geometry: shapely.Geometry, size: Size) -> Bitmaps:
    y, x = np.indices(size)
    return np.asarray(shapely.contains_xy(geometry, x + 0.5, y + 0.5))


def by_coco(body: bytes, _: Size) -> list[Bitmaps]:
    return [coco_mask.decode(r["segmentation"]).astype(bool) for r in json.loads(body)]


def by_shapely(body: bytes, size: Size) -> list[Bitmaps]:
    geometries = [shapely.geometry.shape(f["geometry"]) for f in json.loads(body)["features"]]
    assert all(geometry.is_valid for geometry in geometries)
    return [of_centres(geometry, size) for geometry in geometries]


def by_rings(body: bytes, size: Size) -> list[Bitmaps]:
    answer = json.loads(body)
    assert answer["size"] == list(size)
    shapes = [
        shapely.MultiPolygon([(p["exterior"], p["holes"]) for p in annotation["polygons"]])
        for annotation in answer["annotations"]
    ]
    assert [shape.area > 0 for shape in shapes] == [True] * len(shapes)
    return [of_centres(shape, size) for shape in shapes]


def by_labelme(body: bytes, size: Size) -> list[Bitmaps]:
    """As `labelme/_label_file.py` checks and `labelme/_utils/shape.py` fills (version 6)."""
    content = json.loads(body)
    assert (content["imageHeight"], content["imageWidth"]) == size
    assert isinstance(content["imagePath"], str)
    assert content["flags"] == {}
    instances: dict[Any, Bitmaps] = {}
    for shape in content["shapes"]:
        assert isinstance(shape["label"], str)
        assert isinstance(shape["description"], str)
        assert isinstance(shape["group_id"], int | None)
        assert (shape["shape_type"], shape["flags"], shape["mask"]) == ("polygon", {}, None)
        assert len(shape["points"]) > 2
        canvas = PIL.Image.new("L", size[::-1])
        points = [tuple(point) for point in shape["points"]]
        PIL.ImageDraw.Draw(canvas).polygon(points, outline=1, fill=1)
        key = shape["label"], shape["group_id"]
        instances[key] = instances.get(key, np.zeros(size, np.bool_)) | np.array(canvas, np.bool_)
    return list(instances.values())


def by_ultralytics(body: bytes, size: Size) -> list[Bitmaps]:
    """As ultralytics reads a label file, and its `polygon2mask` fills."""
    masks = []
    for line in body.decode().splitlines():
        fields = line.split()
        assert len(fields) > 6, "a line of five is a box"
        shares = np.array(fields[1:], np.float32).reshape(-1, 2)
        assert shares.min() >= 0
        assert shares.max() <= 1
        canvas = np.zeros(size, np.uint8)
        points = (shares * np.array(size[::-1], np.float32)).astype(np.int32)
        cv2.fillPoly(canvas, [points], 1)
        masks.append(canvas > 0)
    return masks


def by_cvat(body: bytes, size: Size) -> list[Bitmaps]:
    """As CVAT's server turns them into shapes, which its SDK then reads."""
    cvat_masks = pytest.importorskip("cvat_sdk.masks", reason="cvat-sdk needs Python 3.11")
    from cvat_sdk import models

    masks = []
    for number, shape in enumerate(json.loads(body)):
        *pixels, x1, y1, x2, y2 = shape["mask"]
        inside = np.array(pixels, np.bool_).reshape(y2 - y1 + 1, x2 - x1 + 1)
        whole = np.zeros(size, np.bool_)
        whole[y1 : y2 + 1, x1 : x2 + 1] = inside
        encoded = cvat_masks.encode_mask(whole, [x1, y1, x2 + 1, y2 + 1])
        request = models.LabeledShapeRequest(
            type=shape["type"], frame=0, label_id=number, points=[float(v) for v in encoded]
        )
        decoded = cvat_masks.decode_mask(request.points, image_width=size[1], image_height=size[0])
        masks.append(decoded)
    return masks


def by_label_studio_brush(body: bytes, size: Size) -> list[Bitmaps]:
    result = json.loads(body)["predictions"][0]["result"]
    channels = [brush.decode_rle(r["value"]["rle"]).reshape(*size, 4) for r in result]
    assert all((c == c[:, :, :1]).all() for c in channels)
    return [c[:, :, 3] > 127 for c in channels]


CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="label" toName="image">{}</PolygonLabels></View>"""


def by_label_studio_polygons(body: bytes, size: Size) -> list[Bitmaps]:
    """Once annotators have accepted a prediction, by Label Studio's own conversion to COCO."""
    task = json.loads(body)
    labels = "".join(f'<Label value="{c.name}"/>' for c in coco())
    converter = Converter(CONFIG.format(labels), project_dir=None, download_resources=False)
    accepted = {**task, "id": 1, "annotations": [{**task["predictions"][0], "id": 1}]}
    (item,) = converter.annotation_result_from_task(accepted)
    height, width = size
    instances: dict[str, Bitmaps] = {}
    for value in item["output"].get("label", ()):
        assert (value["original_height"], value["original_width"]) == size
        points = np.array(value["points"]) * (width / 100, height / 100)
        runs = coco_mask.frPyObjects([points.ravel().tolist()], height, width)
        (name,) = value["polygonlabels"]
        part = coco_mask.decode(runs)[:, :, 0].astype(bool)
        instances[name] = instances.get(name, np.zeros(size, np.bool_)) | part
    return list(instances.values())


READERS: dict[str, Read] = {
    "coco": by_coco,
    "polygons": by_rings,
    "geojson": by_shapely,
    "labelme": by_labelme,
    "yolo-seg": by_ultralytics,
    "cvat": by_cvat,
    "labelstudio-brush": by_label_studio_brush,
    "labelstudio-polygons": by_label_studio_polygons,
}
EXACT = {"coco", "polygons", "geojson", "cvat", "labelstudio-brush"}
JOINED = {"yolo-seg": {"parts"}}
"""What a format cannot hold: YOLO draws the way from one part to the next."""


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", READERS)
def test_a_mask_comes_back(formats: Mapping[str, Format], name: str, mask: str) -> None:
    written = formats[name].render(prediction({mask: MASKS[mask]}))
    (read,) = READERS[name](written, SIZE)
    shared = (read & MASKS[mask]).sum() / (read | MASKS[mask]).sum()
    least = 1 if name in EXACT else 0.95 if mask in JOINED.get(name, ()) else 0.99
    assert shared >= least


@pytest.mark.parametrize("name", READERS)
def test_instances_stay_apart_and_in_order(formats: Mapping[str, Format], name: str) -> None:
    read = READERS[name](formats[name].render(prediction()), SIZE)
    shared = [(a & b).sum() / (a | b).sum() for a, b in zip(read, MASKS.values(), strict=True)]
    assert min(shared) >= 0.95


def nothing(masks: bool) -> dict[str, Any]:
    return {
        "boxes": np.zeros((0, 4), np.float32),
        "scores": np.zeros(0, np.float32),
        "category_ids": np.zeros(0, np.int64),
        "masks": BitMasks(np.zeros((0, *SIZE), np.bool_)) if masks else None,
    }


@pytest.mark.parametrize("name", READERS)
def test_nothing_found_is_a_file_of_nothing(formats: Mapping[str, Format], name: str) -> None:
    assert READERS[name](formats[name].render(prediction(**nothing(True))), SIZE) == []


@pytest.mark.parametrize("name", sorted(set(READERS) - {"labelstudio-brush", "coco"}))
def test_an_instance_without_a_pixel_is_no_error(formats: Mapping[str, Format], name: str) -> None:
    masks = {"none": np.zeros(SIZE, np.bool_), "pixel": MASKS["pixel"]}
    written = formats[name].render(prediction(masks))
    assert b"bicycle" in written or written.startswith(b"1 ")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("geojson", lambda a: a["features"][1]["geometry"]["coordinates"][0][2] == [30, 20]),
        ("labelme", lambda a: a["shapes"][1]["points"] == [[0, 0], [30, 20]]),
        ("cvat", lambda a: (a[1]["type"], a[1]["points"]) == ("rectangle", [0, 0, 30, 20])),
        ("polygons", lambda a: "polygons" not in a["annotations"][1]),
        (
            "labelstudio-polygons",
            lambda a: (
                a["predictions"][0]["result"][1]["value"]
                == {
                    **{"x": 0, "y": 0, "width": 18.75, "height": pytest.approx(16.66667)},
                    **{"rotation": 0, "rectanglelabels": ["bicycle"]},
                }
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_boxes_alone_are_boxes(
    formats: Mapping[str, Format], name: str, expected: Callable[[Any], bool]
) -> None:
    assert expected(json.loads(formats[name].render(prediction(masks=None))))


def test_boxes_alone_are_lines_of_yolos_detection(formats: Mapping[str, Format]) -> None:
    lines = formats["yolo-seg"].render(prediction(masks=None)).decode().splitlines()
    assert lines[1] == "1 0.093750 0.083333 0.187500 0.166667"


def test_parts_of_an_instance_are_a_group_in_labelme(formats: Mapping[str, Format]) -> None:
    shapes = json.loads(formats["labelme"].render(prediction()))["shapes"]
    groups = {shape["label"]: shape["group_id"] for shape in shapes}
    assert groups["airplane"] is None
    assert groups["car"] == 3
    assert len([s for s in shapes if s["group_id"] == 3]) == 3
    assert json.loads(formats["labelme"].render(prediction()))["imagePath"] == "7.png"


def test_a_pixel_is_a_polygon_of_three_points(formats: Mapping[str, Format]) -> None:
    (shape,) = json.loads(formats["labelme"].render(prediction({"p": MASKS["pixel"]})))["shapes"]
    assert shape["points"] == [[7.5, 9.5]] * 3


def test_cvat_gets_a_polygon_of_the_largest_part_as_well(formats: Mapping[str, Format]) -> None:
    (shape,) = json.loads(formats["cvat"].render(prediction({"blob": MASKS["blob"]})))
    assert shape["confidence"] == "0.95"
    polygon = shapely.Polygon(np.array(shape["points"]).reshape(-1, 2))
    np.testing.assert_array_equal(of_centres(polygon, SIZE), MASKS["blob"])


def test_qupath_finds_its_properties(formats: Mapping[str, Format]) -> None:
    answer = json.loads(formats["geojson"].render(prediction()))
    assert answer["type"] == "FeatureCollection"
    for feature, expected in zip(answer["features"], MASKS.values(), strict=True):
        assert feature["properties"]["objectType"] == "annotation"
        assert feature["properties"]["area"] == expected.sum()
    assert answer["features"][0]["properties"]["classification"] == {"name": "person"}
    assert answer["features"][0]["properties"]["score"] == pytest.approx(0.95)


def test_an_instance_map_has_the_better_on_top_and_a_table(formats: Mapping[str, Format]) -> None:
    body = formats["instance-map"].render(prediction())
    with PIL.Image.open(io.BytesIO(body)) as picture:
        assert picture.mode == "P"
        numbers = np.array(picture)
        table = json.loads(picture.info["instances"])
    expected = np.zeros(SIZE, np.uint8)
    for number, bitmap in reversed(list(enumerate(MASKS.values(), start=1))):
        expected[bitmap] = number
    np.testing.assert_array_equal(numbers, expected)
    assert len(table) == len(MASKS)
    assert table[0]["category_name"] == "person"
    assert table[1] == {
        "category_id": 2,
        "category_name": "bicycle",
        "score": pytest.approx(0.9),
        "bbox": [0, 0, 30, 20],
    }


def test_an_instance_map_of_many_is_gray_of_16_bits(formats: Mapping[str, Format]) -> None:
    pixels = {str(i): np.arange(160 * 120).reshape(SIZE) == i for i in range(300)}
    of = prediction(pixels, category_ids=np.ones(300, np.int64))
    with PIL.Image.open(io.BytesIO(formats["instance-map"].render(of))) as picture:
        assert picture.mode == "I;16"
        numbers = np.array(picture)
    assert numbers[1, 139] == 300
    assert (numbers > 0).sum() == 300


def test_an_instance_map_without_masks_is_refused(formats: Mapping[str, Format]) -> None:
    with pytest.raises(RequestError, match="no masks"):
        formats["instance-map"].render(prediction(masks=None))


@pytest.mark.parametrize(("name", "form"), [("overlay", "PNG"), ("overlay-jpeg", "JPEG")])
def test_an_overlay_is_an_image_of_the_same_size(
    formats: Mapping[str, Format], name: str, form: str
) -> None:
    with PIL.Image.open(io.BytesIO(formats[name].render(prediction()))) as picture:
        assert (picture.format, picture.size) == (form, SIZE[::-1])
        assert (np.asarray(picture.convert("RGB"))[60, 80] != 90).any()


def test_a_file_for_labelme_has_no_path_in_it(formats: Mapping[str, Format]) -> None:
    hostile = prediction()
    for name in ("../../etc/passwd", "/etc/passwd", base64.b64encode(b"a").decode()):
        of = Prediction(**vars(hostile) | {"image_id": name})
        written = json.loads(formats["labelme"].render(of))
        assert written["imagePath"] == Path(name).name


@pytest.mark.parametrize("encoding", ["rows", "columns", "compressed"])
def test_run_lengths_are_written_as_they_are_wanted(
    formats: Mapping[str, Format], encoding: str
) -> None:
    of = Prediction(**vars(prediction()) | {"rle": encoding})
    for annotation, expected in zip(
        json.loads(formats["sagemaker"].render(of))["annotations"], MASKS.values(), strict=True
    ):
        runs = annotation["segmentation"]
        if encoding == "rows":
            flat = np.repeat(np.arange(len(runs["counts"])) % 2, runs["counts"])
            read = flat.reshape(runs["size"]).astype(bool)
        else:
            listed = isinstance(runs["counts"], list)
            read = coco_mask.decode(coco_mask.frPyObjects(runs, *SIZE) if listed else runs)
        np.testing.assert_array_equal(read, expected)
    if encoding != "rows":
        assert json.loads(formats["coco"].render(of))[0]["segmentation"]["counts"] == runs_of(
            json.loads(formats["sagemaker"].render(of))
        )


def runs_of(answer: Any) -> Any:
    return answer["annotations"][0]["segmentation"]["counts"]
