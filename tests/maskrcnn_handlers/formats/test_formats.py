"""The formats, each read by the code that its clients use."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn_handlers.formats.writing import image_id, truncated_bbox
from maskrcnn_server.backend import Image, ModelMetadata
from maskrcnn_server.categories import coco
from maskrcnn_server.detections import Detections, Proposals
from maskrcnn_server.formats import Format, Prediction
from maskrcnn_server.masks import BitMasks, RoiMasks
from maskrcnn_server.plugins import Plugins

# pycocotools 2.0.11 hands numpy an array in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MODEL = ModelMetadata(name="m", backend="fake", categories=coco(), score_threshold=0.5)
TOOTHBRUSH = 80


@pytest.fixture
def formats() -> Mapping[str, Format]:
    return Plugins().formats()


def prediction(name: str | int = "000000000139.jpg", **parts: Any) -> Prediction:
    """A person as a triangle from pixel (0, 0), and a toothbrush as a bar."""
    bitmaps = np.zeros((2, 20, 30), np.bool_)
    bitmaps[0, :8, :8] = np.tri(8, dtype=np.bool_)
    bitmaps[1, 5:9, 10:30] = True
    whole: dict[str, Any] = {
        "size": (20, 30),
        "boxes": np.array([[0, 0, 8, 8], [10.25, 5, 29.875, 8.75]], np.float32),
        "scores": np.array([0.875, 0.5], np.float32),
        "category_ids": np.array([1, TOOTHBRUSH]),
        "masks": BitMasks(bitmaps),
    }
    found = Detections(**whole | parts)
    return Prediction(
        image_id=name, image=np.zeros((*found.size, 3), np.uint8), detections=found, model=MODEL
    )


def nothing_found(size: tuple[int, int] = (20, 30)) -> Prediction:
    return prediction(
        size=size,
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        category_ids=np.zeros(0, np.int64),
        masks=BitMasks(np.zeros((0, *size), np.bool_)),
    )


def notebook_decode(segmentation: dict[str, Any]) -> NDArray[np.uint8]:
    """As the notebook's helper does: the counts expanded alternately into a flat array."""
    flat: list[int] = []
    value = 0
    for count in segmentation["counts"]:
        flat.extend([value] * count)
        value = 1 - value
    return np.array(flat, np.uint8).reshape(segmentation["size"])


def notebook_draw(image: Image, answer: dict[str, Any]) -> PIL.Image.Image:
    """As the notebook's helper does: mask, box and name of each annotation."""
    drawn = image.copy()
    for annotation in answer["annotations"]:
        mask = notebook_decode(annotation["segmentation"])
        drawn[mask == 1] = (0, 255, 0)
    picture = PIL.Image.fromarray(drawn)
    draw = PIL.ImageDraw.Draw(picture)
    for annotation in answer["annotations"]:
        x, y, width, height = annotation["bbox"]
        draw.rectangle((x, y, x + width, y + height), outline=(255, 0, 0))
        draw.text((x, y), annotation["category_name"], fill=(255, 0, 0))
    return picture


def rendered(form: Format, of: Prediction) -> Any:
    return json.loads(form.render(of))


def test_the_notebooks_format_is_written_to_the_letter(formats: Mapping[str, Format]) -> None:
    answer = rendered(formats["sagemaker"], prediction())
    assert list(answer) == ["img_id", "annotations"]
    assert answer["img_id"] == "000000000139.jpg"
    person, toothbrush = answer["annotations"]
    assert toothbrush["bbox"] == [10, 5, 19, 3]
    assert all(type(v) is int for v in toothbrush["bbox"])
    assert (person["category_id"], person["category_name"]) == (1, "person")
    assert (toothbrush["category_id"], toothbrush["category_name"]) == (80, "toothbrush")
    assert person["segmentation"]["size"] == [20, 30]
    assert person["segmentation"]["counts"][:4] == [0, 1, 29, 2]
    assert person["score"] == 0.875


def test_the_notebooks_helpers_read_the_default_answer(formats: Mapping[str, Format]) -> None:
    asked = prediction()
    answer = rendered(formats["sagemaker"], asked)
    assert asked.detections.masks is not None
    for annotation, mask in zip(
        answer["annotations"], asked.detections.masks.rle("rows"), strict=True
    ):
        assert (notebook_decode(annotation["segmentation"]) == mask.bitmap()).all()
    picture = notebook_draw(asked.image, answer)
    assert picture.getpixel((28, 7)) == (0, 255, 0)
    assert picture.getpixel((8, 8)) == (255, 0, 0)


def test_counts_sum_to_the_pixels(formats: Mapping[str, Format]) -> None:
    answer = rendered(formats["sagemaker"], prediction())
    assert [sum(a["segmentation"]["counts"]) for a in answer["annotations"]] == [600, 600]


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "full"])
def test_extreme_masks_are_decoded(formats: Mapping[str, Format], filled: bool) -> None:
    of = prediction(masks=BitMasks(np.full((2, 20, 30), filled)))
    rows = rendered(formats["sagemaker"], of)["annotations"][0]["segmentation"]
    columns = rendered(formats["coco"], of)[0]["segmentation"]
    assert (notebook_decode(rows) == filled).all()
    assert (coco_mask.decode(columns) == filled).all()


def test_rows_and_columns_decode_to_the_same_masks(formats: Mapping[str, Format]) -> None:
    by_rows = rendered(formats["sagemaker"], prediction())["annotations"]
    by_columns = rendered(formats["coco"], prediction())
    for row, column in zip(by_rows, by_columns, strict=True):
        mask = notebook_decode(row["segmentation"])
        assert (coco_mask.decode(column["segmentation"]) == mask).all()
        assert column["area"] == mask.sum() == coco_mask.area(column["segmentation"])


def test_coco_results_have_the_data_sets_ids_and_exact_boxes(
    formats: Mapping[str, Format],
) -> None:
    person, toothbrush = rendered(formats["coco"], prediction())
    assert [person["category_id"], toothbrush["category_id"]] == [1, 90]
    assert toothbrush["bbox"] == [10.25, 5, 19.625, 3.75]
    assert person["image_id"] == 139


def test_boxes_without_masks_have_no_segmentation(formats: Mapping[str, Format]) -> None:
    plain = prediction(masks=None)
    assert "segmentation" not in rendered(formats["sagemaker"], plain)["annotations"][0]
    result = rendered(formats["coco"], plain)[0]
    assert "segmentation" not in result
    assert result["area"] == 64


def test_nothing_found_is_an_empty_list(formats: Mapping[str, Format]) -> None:
    assert rendered(formats["sagemaker"], nothing_found())["annotations"] == []
    assert rendered(formats["coco"], nothing_found()) == []


def test_proposals_are_added_when_they_were_asked_for(formats: Mapping[str, Format]) -> None:
    boxes = np.array([[1, 2, 3, 4]], np.float32)
    scores = np.array([0.5], np.float32)
    of = prediction(proposals=Proposals(boxes, scores, np.zeros((1, 81), np.float32)))
    answer = rendered(formats["sagemaker"], of)
    assert answer["rpn_boxes"] == [[1, 2, 3, 4]]
    assert answer["rpn_scores"] == [0.5]
    assert answer["all_scores"] == [[0] * 81]


@pytest.mark.parametrize("name", ["sagemaker", "coco"])
@pytest.mark.parametrize("hostile", ["../../etc/passwd", "a\0\n\"'", "ü", "\u2028"])
def test_hostile_names_come_back_as_they_were(
    formats: Mapping[str, Format], name: str, hostile: str
) -> None:
    answer = rendered(formats[name], prediction(hostile))
    assert (answer["img_id"] if name == "sagemaker" else answer[0]["image_id"]) == hostile


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("000000000139.jpg", 139),
        ("val2017/000000000139.jpg", 139),
        ("139", 139),
        (139, 139),
        ("a139.jpg", "a139.jpg"),
        ("", ""),
        ("²", "²"),
        ("9" * 19 + ".jpg", "9" * 19 + ".jpg"),
    ],
)
def test_coco_image_ids_are_the_numbers_in_names(name: str | int, expected: str | int) -> None:
    assert image_id(name) == expected


def test_boxes_are_cut_as_the_old_containers_cut_them() -> None:
    assert truncated_bbox(np.array([1.9, 2.1, 4.8, 9.0], np.float32)) == [1, 2, 2, 6]


def test_pycocotools_evaluates_the_results(formats: Mapping[str, Format]) -> None:
    """Ground truth made of the answers themselves: the average precision is 1."""
    results = [
        result
        for number in (139, 285, 632)
        for result in rendered(formats["coco"], prediction(f"{number:012}.jpg"))
    ]
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": i, "height": 20, "width": 30} for i in (139, 285, 632)],
        "categories": [{"id": c.dataset_id, "name": c.name} for c in coco()],
        "annotations": [{**r, "id": i, "iscrowd": 0} for i, r in enumerate(results, start=1)],
    }
    truth.createIndex()
    answers = truth.loadRes(results)
    assert {a["category_id"] for a in answers.anns.values()} == {1, 90}
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(truth, answers, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1)


def test_soft_masks_keep_their_probabilities(formats: Mapping[str, Format]) -> None:
    found = prediction().detections
    soft = np.linspace(0, 1, 2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4)
    masks = RoiMasks(soft, found.boxes, found.size)
    answer = json.loads(formats["soft"].render(prediction(masks=masks)))
    assert answer["img_id"] == "000000000139.jpg"
    assert answer["size"] == [20, 30]
    assert answer["model"] == {"name": "m", "backend": "fake", "score_threshold": 0.5}
    for instance, box, probabilities in zip(answer["instances"], found.boxes, soft, strict=True):
        assert instance["box"] == instance["mask"]["box"] == box.tolist()
        assert instance["mask"]["side"] == 4
        quantised = np.frombuffer(base64.b64decode(instance["mask"]["probabilities"]), np.uint8)
        assert np.abs(quantised.reshape(4, 4) / 255 - probabilities).max() <= 0.5 / 255 + 1e-6
    assert [one["category_name"] for one in answer["instances"]] == ["person", "toothbrush"]
    assert [one["score"] for one in answer["instances"]] == [0.875, 0.5]


def test_what_is_finished_is_not_made_soft(formats: Mapping[str, Format]) -> None:
    answer = json.loads(formats["soft"].render(prediction()))
    notebooks = json.loads(formats["sagemaker"].render(prediction()))
    for one, annotation in zip(answer["instances"], notebooks["annotations"], strict=True):
        assert one["segmentation"] == annotation["segmentation"]
        assert "mask" not in one


def test_soft_without_masks_is_boxes(formats: Mapping[str, Format]) -> None:
    answer = json.loads(formats["soft"].render(prediction(masks=None)))
    assert [set(one) for one in answer["instances"]] == 2 * [
        {"box", "category_id", "category_name", "score"}
    ]
