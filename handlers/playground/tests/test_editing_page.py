"""What people change of a model's answer, in a browser, and what the files then say."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from playground_site import BOXES, HOSTILE, Finished, Serve, listed, zoom
from playwright.sync_api import Page, expect
from pycocotools import mask as coco_mask

# pycocotools has not heard of NumPy 2's arguments yet.
old_numpy = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
pytestmark = [pytest.mark.full, old_numpy]

ROUND_TRIP = """async () => {
    const { RunMask } = await import("./playground/masks.js");
    const { runs, outline, filled } = await import("./playground/outline.js");
    const size = [90, 120];
    const inside = (x, y) => {
        const far = Math.hypot(x - 60, y - 45);
        return (far < 40 && far > 15) || (x < 12 && y < 9) || (x > 110 && y > 80);
    };
    const bits = Array.from({ length: 90 * 120 }, (_, i) => inside(i % 120, Math.floor(i / 120)));
    const counts = [0];
    let last = false;
    for (const bit of bits) {
        if (bit === last) counts[counts.length - 1]++;
        else counts.push(1);
        last = bit;
    }
    const mask = new RunMask(counts, size);
    const rings = outline(mask, size, 0.5);
    const back = runs(filled(rings, size), size, 0.5);
    return { counts, again: runs(mask, size, 0.5), rings, back };
}"""


def export(page: Page, form: str, tmp_path: Path) -> bytes:
    page.locator("#format").select_option(form)
    with page.expect_download() as started:
        page.locator("#download").click()
    started.value.save_as(tmp_path / form)
    return (tmp_path / form).read_bytes()


def coco(page: Page, tmp_path: Path) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = json.loads(export(page, "coco", tmp_path))
    return results


def pick(page: Page, index: int) -> None:
    page.locator(f"#instance-{index}").click()


def test_edits_are_in_every_format(found: Page, tmp_path: Path) -> None:
    """One is deleted, one has another class, one is wrong; the fourth is left as it was."""
    before = coco(found, tmp_path)
    assert [one["category_id"] for one in before] == [1, 2, 1, 3]
    pick(found, 1)
    found.locator("#delete").click()
    pick(found, 0)
    found.locator("#label").fill("dog")
    found.locator("#label").press("Enter")
    pick(found, 3)
    found.keyboard.press("w")
    assert listed(found) == ["dog", "cat", HOSTILE]
    expect(found.locator("#count")).to_have_text("3 of 5, 1 wrong")
    after = coco(found, tmp_path)
    assert [one["category_id"] for one in after] == [2, 1]
    for one, index in zip(after, (0, 2), strict=True):
        assert one["score"] == pytest.approx(before[index]["score"], abs=1e-6)
        assert one["bbox"] == pytest.approx(before[index]["bbox"], abs=1e-3)
        masks = [coco_mask.decode(each["segmentation"]) for each in (one, before[index])]
        assert np.mean(masks[0] != masks[1]) < 0.01
        assert one["area"] == masks[0].sum() > 0
    features = json.loads(export(found, "geojson", tmp_path))["features"]
    assert [f["properties"]["classification"]["name"] for f in features] == ["dog", "cat"]
    drawn = PIL.Image.open(BytesIO(export(found, "overlay", tmp_path)))
    assert drawn.size == (120, 90)
    with found.expect_download() as started:
        found.locator("#review").click()
    started.value.save_as(tmp_path / "review")
    said = json.loads((tmp_path / "review").read_bytes())["instances"]
    assert [one["verdict"] for one in said] == ["kept", "deleted", "kept", "wrong", "kept", "kept"]
    assert said[0]["relabelled"] == "dog"


def test_a_point_of_the_outline_is_dragged(found: Page, tmp_path: Path) -> None:
    """The mask and the box of the file follow."""
    before = coco(found, tmp_path)[0]
    pick(found, 0)
    found.keyboard.press("e")
    expect(found.locator("#outline")).to_have_attribute("aria-pressed", "true")
    frame = found.locator("#canvas").bounding_box()
    assert frame is not None
    # The box is in the middle of the canvas, and a point of its outline is at its left edge.
    found.keyboard.press(".")
    found.keyboard.press("0")
    left = min(before["bbox"][0], 10.3)
    scale = zoom(found) / 100
    start = outline_point(found)
    place = (
        frame["x"] + frame["width"] / 2 + (start[0] - 60) * scale,
        frame["y"] + frame["height"] / 2 + (start[1] - 45) * scale,
    )
    found.mouse.move(*place)
    found.mouse.down()
    found.mouse.move(frame["x"] + frame["width"] / 2 + (2 - 60) * scale, place[1], steps=5)
    found.mouse.up()
    after = coco(found, tmp_path)[0]
    assert after["bbox"][0] == pytest.approx(2, abs=0.5)
    assert after["bbox"][0] < left
    masks = [coco_mask.decode(one["segmentation"]).astype(bool) for one in (before, after)]
    columns = np.flatnonzero(masks[1].any(axis=0))
    assert columns[0] < np.flatnonzero(masks[0].any(axis=0))[0]
    assert (masks[0] & masks[1]).sum() / masks[0].sum() > 0.8
    found.keyboard.press("Control+z")
    assert coco(found, tmp_path)[0]["bbox"] == pytest.approx(before["bbox"], abs=1e-3)


def outline_point(page: Page) -> list[float]:
    """The leftmost point of the first instance's outline, in pixels of the image."""
    point: list[float] = page.evaluate(
        """async () => {
            const { ask, parsed } = await import("./playground/server.js");
            const { outline } = await import("./playground/outline.js");
            const reply = await fetch("playground/samples/0");
            const file = new File([await reply.blob()], "a.png", { type: "image/png" });
            const options = { score_threshold: 0.05, mask_threshold: 0.5, format: "soft" };
            const { size, instances } = parsed((await ask(file, null, options)).bytes);
            const points = outline(instances[0].mask, size, 0.5).flat();
            return points.reduce((best, one) => (one[0] < best[0] ? one : best));
        }"""
    )
    return point


def test_points_are_moved_and_removed_by_keys(found: Page, tmp_path: Path) -> None:
    before = coco(found, tmp_path)[0]
    pick(found, 0)
    for key in ("e", ".", "Shift+ArrowLeft", "Shift+ArrowLeft"):
        found.keyboard.press(key)
    moved = coco(found, tmp_path)[0]
    assert moved["area"] != before["area"]
    found.locator("#frame").focus()
    found.keyboard.press("Delete")
    assert len(listed(found)) == 4
    assert coco(found, tmp_path)[0]["area"] != moved["area"]
    for _ in range(3):
        found.keyboard.press("Control+z")
    expect(found.locator("#undo")).to_be_disabled()
    assert coco(found, tmp_path)[0]["area"] == before["area"]


def test_undo_and_redo(found: Page) -> None:
    expect(found.locator("#undo")).to_be_hidden()
    pick(found, 0)
    found.keyboard.press("Delete")
    expect(found.locator("#status")).to_have_text("Cat is deleted. Ctrl Z takes it back.")
    expect(found.locator("#instance-1")).to_have_attribute("aria-selected", "true")
    found.keyboard.press("Delete")
    assert listed(found) == ["cat", HOSTILE]
    found.locator("#undo").click()
    found.keyboard.press("Control+z")
    assert listed(found) == ["cat", "dog", "cat", HOSTILE]
    found.keyboard.press("Control+Shift+z")
    assert listed(found) == ["dog", "cat", HOSTILE]


def test_a_class_that_the_model_does_not_know(found: Page, tmp_path: Path) -> None:
    pick(found, 0)
    found.keyboard.press("r")
    found.locator("#label").fill("lynx")
    found.locator("#label").press("Enter")
    expect(found.locator("#chips")).to_contain_text("lynx")
    assert [one["category_id"] for one in coco(found, tmp_path)] == [4, 2, 1, 3]
    shapes = json.loads(export(found, "labelme", tmp_path))["shapes"]
    assert shapes[0]["label"] == "lynx"


def test_outlines_and_runs_of_a_mask_with_a_hole(page: Page) -> None:
    told = page.evaluate(ROUND_TRIP)
    assert told["again"] == told["counts"]
    assert len(told["rings"]) == 4
    masks = [np.repeat(np.arange(len(c)) % 2, c) for c in (told["counts"], told["back"])]
    assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.97


def test_finished_masks_keep_every_pixel(serve: Serve, visit: Any, tmp_path: Path) -> None:
    """Of an edited answer's other instances."""
    page = visit(serve(Finished()))
    page.locator("#welcome .samples button").click()
    before = coco(page, tmp_path)
    pick(page, 0)
    page.keyboard.press("Delete")
    after = coco(page, tmp_path)
    assert [one["segmentation"] for one in after] == [one["segmentation"] for one in before[1:]]
    assert len(BOXES) == 6
