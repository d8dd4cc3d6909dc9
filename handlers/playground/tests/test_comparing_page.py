"""Two models side by side in a browser: what both find, what only one finds, and how it shows."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from firefox import PROGRAM, firefox
from playground_site import BOXES, SCORES, Blobs, Serve, Site, pixels, slide, zoom
from playwright.sync_api import Page, expect

from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.masks import RoiMasks

pytestmark = pytest.mark.full

REPORT = """async () => {
    const { violations } = await axe.run();
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(" ")}`);
}"""
IOUS = """async () => {
    const { Overlaps, differences } = await import("./playground/differences.js");
    const { RunMask } = await import("./playground/masks.js");
    const size = [400, 600];
    const square = (index, left, top, side) => {
        const [counts, gap] = [[top * 600 + left], 600 - side];
        for (let row = 0; row < side; row++) counts.push(side, gap);
        const rest = size[0] * size[1] - counts.reduce((sum, one) => sum + one, 0);
        counts[counts.length - 1] += rest;
        const box = [left, top, left + side, top + side];
        return { index, category: "cat", box, mask: new RunMask(counts, size) };
    };
    const overlaps = new Overlaps();
    const iou = (one, other) => overlaps.iou(one, other, size, 0.5);
    const ious = [
        iou(square(0, 10, 10, 20), square(0, 20, 10, 20)),
        iou(square(0, 10, 10, 20), square(0, 200, 10, 20)),
        iou(square(0, 0, 0, 300), square(0, 100, 0, 300)),
        iou({ box: [0, 0, 2, 2] }, { box: [1, 0, 3, 2] }),
    ];
    const near = [square(0, 0, 0, 100), square(1, 10, 0, 100)];
    const found = differences(near, [square(0, 10, 0, 100)], iou);
    return [ious, found.map(({ kind }) => kind)];
}"""


class Nearly(Blobs):
    """Finds the first two of Blobs' instances, the second in another class, and one elsewhere."""

    def _one(self, image: Image, options: PredictOptions) -> Detections:
        found = super()._one(image, options)
        assert isinstance(found.masks, RoiMasks)
        chosen = np.array([0, 1, 3])
        boxes = BOXES[chosen].copy()
        boxes[2] = (100, 5, 110, 15)
        return Detections(
            found.size,
            boxes,
            SCORES[chosen],
            np.array([1, 1, 3], np.int64),
            RoiMasks(found.masks.probabilities[chosen], boxes, found.size, options.mask_threshold),
        )


@pytest.fixture
def two(serve: Serve, tmp_path: Path) -> Site:
    """A server with two models."""

    def load(folder: Path) -> Scheduler:
        return Scheduler(Blobs() if folder.name == "blobs" else Nearly(), max_waiting=4)

    models = Models(load, tmp_path, 2**33, evicts=False)
    for name in ("blobs", "nearly"):
        (tmp_path / name).mkdir()
        models.load(name, str(tmp_path / name))
    return serve(models=models)


@pytest.fixture
def compared(two: Site, visit: Callable[..., Page]) -> Page:
    """The page after both have looked at the sample."""
    return compare(visit(two))


def compare(page: Page) -> Page:
    page.locator("#models select").select_option("blobs")
    page.locator("#against select").select_option("nearly")
    page.locator("#welcome .samples button").click()
    expect(page.locator("#count")).to_have_text("1 in both, 4 differ")
    return page


def tally(page: Page) -> list[str]:
    return page.locator("#tally button").all_inner_texts()


def rows(page: Page) -> list[str]:
    return page.locator("#list li:visible").all_inner_texts()


def drawn(page: Page, canvas: str) -> str:
    pixels(page)
    return str(page.evaluate(f"document.getElementById('{canvas}').toDataURL()"))


def test_masks_that_overlap_are_one_instance(page: Page) -> None:
    """Squares whose overlap is known; of two that match the same one, the nearer does."""
    ious, kinds = page.evaluate(IOUS)
    assert ious == pytest.approx([1 / 3, 0, 1 / 2, 1 / 3], abs=0.01)
    assert kinds == ["left", "both"]


def test_one_model_has_nothing_to_be_compared_with(page: Page) -> None:
    page.locator("#welcome .samples button").wait_for()
    expect(page.locator("#against")).to_be_hidden()
    expect(page.locator("#other")).to_be_hidden()


def test_two_models_are_asked_once_each(two: Site, compared: Page) -> None:
    assert two.asked.count("/models/blobs/invoke") == 1
    assert two.asked.count("/models/nearly/invoke") == 1
    for least in (0.05, 0.9, 0.5):
        slide(compared, "#score", least)
    assert sum("invoke" in path for path in two.asked) == 2


def test_agreement_and_differences_are_counted_and_listed(compared: Page) -> None:
    assert [text.split("\n") for text in tally(compared)] == [
        ["both", "1"],
        ["other class", "1"],
        ["only blobs", "2"],
        ["only nearly", "1"],
    ]
    listed = [text.split("\n") for text in rows(compared)]
    assert listed[0] == ["cat", "both", "0.95 0.95"]
    assert listed[1] == ["dog", "other class", "0.80 0.80"]
    assert [text[1] for text in listed[2:]] == ["only blobs", "only blobs", "only nearly"]
    label = "Picture with 3 instances of nearly"
    expect(compared.locator("#other")).to_have_attribute("aria-label", label)
    expect(compared.locator("#canvas")).to_have_attribute("aria-label", "Picture with 4 instances")


def test_thresholds_act_on_both(compared: Page) -> None:
    before = drawn(compared, "other")
    slide(compared, "#score", 0.9)
    expect(compared.locator("#count")).to_have_text("1 in both, 0 differ")
    assert drawn(compared, "other") != before


def test_kinds_can_be_left_out(compared: Page) -> None:
    before = drawn(compared, "canvas"), drawn(compared, "other")
    button = compared.locator("#tally button").first
    button.focus()
    compared.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")
    assert len(rows(compared)) == 4
    after = drawn(compared, "canvas"), drawn(compared, "other")
    assert all(one != other for one, other in zip(before, after, strict=True))
    button.click()
    assert (drawn(compared, "canvas"), drawn(compared, "other")) == before


def test_an_instance_stands_out_in_both_and_its_numbers_are_compared(compared: Page) -> None:
    before = drawn(compared, "other")
    compared.locator("#list").focus()
    compared.keyboard.press("ArrowDown")
    assert drawn(compared, "other") != before
    facts = compared.locator("#detail dl").inner_text().split("\n")
    assert facts[facts.index("nearly") + 1] == "cat 0.9500"
    assert facts[facts.index("IoU") + 1] == "1.000"
    expect(compared.locator("#edit")).to_be_hidden()
    compared.keyboard.press("Delete")
    expect(compared.locator("#count")).to_have_text("1 in both, 4 differ")


def test_both_move_together(compared: Page) -> None:
    right = compared.locator("#other")
    right.dblclick(position={"x": 120, "y": 200})
    scale = zoom(compared)
    assert scale > 600
    places = []
    for canvas in ("canvas", "other"):
        compared.mouse.move(5, 5)
        box = compared.locator(f"#{canvas}").bounding_box()
        assert box is not None
        places.append(box["width"])
    assert places[0] == places[1]
    compared.locator("#frame").focus()
    before = drawn(compared, "other")
    compared.keyboard.press("ArrowRight")
    assert drawn(compared, "other") != before
    compared.keyboard.press("0")
    assert zoom(compared) < scale


def test_the_comparison_ends_with_everything_as_it_was(compared: Page) -> None:
    compared.locator("#against select").select_option("")
    expect(compared.locator("#count")).to_have_text("4 of 6")
    expect(compared.locator("#other")).to_be_hidden()
    compared.locator("#list li").first.click()
    expect(compared.locator("#edit")).to_be_visible()


def test_a_model_is_not_compared_with_itself(compared: Page) -> None:
    compared.locator("#models select").select_option("nearly")
    expect(compared.locator("#count")).to_have_text("3 of 3")
    expect(compared.locator("#other")).to_be_hidden()
    names = compared.locator("#against option").all_inner_texts()
    assert names == ["compare with ...", "blobs"]


@pytest.mark.parametrize("size", [(1280, 860), (390, 844)], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_a_comparison(
    two: Site, visit: Callable[..., Page], size: tuple[int, int], scheme: str
) -> None:
    pytest.importorskip("axe_playwright_python")
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    viewport = {"width": size[0], "height": size[1]}
    page = compare(visit(two, color_scheme=scheme, viewport=viewport, bypass_csp=True))
    page.locator("#list li").first.click()
    page.evaluate(axe)
    assert page.evaluate(REPORT) == []
    page.locator("#tally button").first.click()
    assert page.evaluate(REPORT) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.skipif(PROGRAM is None, reason="there is no Firefox: install firefox-esr")
def test_two_models_are_compared_in_firefox(two: Site, tmp_path: Path) -> None:
    pytest.importorskip("websockets")
    with firefox(tmp_path) as tab:
        tab.goto(two.url, 1200, 800)
        tab.wait("document.querySelector('#against option[value=nearly]') !== null")
        for label, name in (("models", "blobs"), ("against", "nearly")):
            select = f"document.querySelector('#{label} select')"
            chosen = "dispatchEvent(new Event('change', { bubbles: true }))"
            tab.run(f"(() => {{ {select}.value = '{name}'; {select}.{chosen}; }})()")
        tab.run("document.querySelector('#welcome .samples button').click()")
        tab.wait("document.getElementById('count').textContent === '1 in both, 4 differ'")
        widths = "[canvas, other].map((one) => one.clientWidth)"
        left, right = tab.run(widths)
        assert abs(left - right) <= 1
        assert not tab.errors
