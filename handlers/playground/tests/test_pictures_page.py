"""Several pictures, and the ways for them to come in; what the browser remembers."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from crowd import Crowd
from playground_site import Serve, Site, choose_sample, give, listed, slide
from playwright.sync_api import FilePayload, Page, expect

pytestmark = pytest.mark.full

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def named(*names: str, content: bytes) -> list[FilePayload]:
    return [FilePayload(name=name, mimeType="image/png", buffer=content) for name in names]


@pytest.fixture
def crowded(serve: Serve, visit: Callable[..., Page]) -> Callable[..., Page]:
    """Opens a page on which ninety instances of thirty-five classes are found."""

    def opened(**options: object) -> Page:
        page = visit(serve(Crowd()), **options)
        page.locator("#welcome .samples button").first.click()
        expect(page.locator("#count")).to_have_text("90 of 180")
        return page

    return opened


def test_several_pictures_are_asked_one_after_the_other(
    page: Page, picture: bytes, tmp_path: Path
) -> None:
    """All are in the archive, the edited one as it was edited."""
    page.locator("#file").set_input_files(named("a.png", "b.png", "a.png", content=picture))
    expect(page.locator("#strip button")).to_have_count(3)
    expect(page.locator("#asked-count")).to_have_text("3 of 3")
    expect(page.locator("#snippet")).to_contain_text("@a.png")
    page.keyboard.press("PageDown")
    expect(page.locator("#snippet")).to_contain_text("@b.png")
    page.locator("#list li").first.click()
    page.keyboard.press("Delete")
    expect(page.locator("#strip [aria-current]")).to_have_attribute(
        "title", "b.png: 5 found, edited"
    )
    page.locator("#strip button").first.click()
    assert len(listed(page)) == 4
    page.locator("#format").select_option("coco")
    with page.expect_download() as started:
        page.locator("#download-all").click()
    assert started.value.suggested_filename == "coco.zip"
    started.value.save_as(tmp_path / "coco.zip")
    with zipfile.ZipFile(tmp_path / "coco.zip") as archive:
        assert archive.testzip() is None
        counts = {name: len(json.loads(archive.read(name))) for name in archive.namelist()}
    assert counts == {"a.coco.json": 4, "b.coco.json": 3, "a-2.coco.json": 4}
    # A dialog that nobody answers is dismissed: the edits stay.
    page.locator("#close-others").click()
    expect(page.locator("#strip button")).to_have_count(3)
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#close-others").click()
    expect(page.locator("#pictures")).to_be_hidden()


def test_one_that_fails_costs_the_others_nothing(
    page: Page, picture: bytes, tmp_path: Path
) -> None:
    broken = named("broken.png", content=picture[:60])
    page.locator("#file").set_input_files([*named("a.png", content=picture), *broken])
    expect(page.locator("#strip [data-state=failed]")).to_have_count(1)
    with page.expect_download() as started:
        page.locator("#download-all").click()
    expect(page.locator("#error")).to_contain_text("1 failed. broken.png: The server says")
    started.value.save_as(tmp_path / "all.zip")
    assert zipfile.ZipFile(tmp_path / "all.zip").namelist() == ["a.sagemaker.json"]


def test_a_picture_that_is_too_large_is_sent_smaller(page: Page) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (700, 900, 3), np.uint8)
    file = BytesIO()
    PIL.Image.fromarray(noise).save(file, "PNG")
    assert len(file.getvalue()) > 2**20
    give(page, file.getvalue(), "noise.png")
    expect(page.locator("#error")).to_contain_text("more than the 1 MiB")
    page.get_by_role("button", name="Send it smaller").click()
    expect(page.locator("#count")).to_have_text("4 of 6")
    expect(page.locator("#snippet")).to_contain_text("@noise-")
    expect(page.locator("#error")).to_be_hidden()


def test_the_camera_takes_a_picture(page: Page) -> None:
    page.context.grant_permissions(["camera"])
    page.get_by_role("button", name="Use the camera").click()
    page.locator("#camera video").evaluate(
        "(video) => video.videoWidth"
        " || new Promise((seen) => video.addEventListener('playing', () => seen(1)))"
    )
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator("#count")).to_have_text("4 of 6")
    expect(page.locator("#snippet")).to_contain_text("@camera.jpg")


def test_photographs_are_the_samples_of_a_model_of_coco(crowded: Callable[..., Page]) -> None:
    names = (
        crowded().locator("#tools .samples button").evaluate_all("(all) => all.map((b) => b.title)")
    )
    assert names == ["astronaut.jpg", "chelsea.jpg"]


def test_classes_are_sorted_searched_and_seen_alone(crowded: Callable[..., Page]) -> None:
    page = crowded()
    chips = page.locator(".chip:visible")
    names = chips.evaluate_all("(all) => all.map((chip) => chip.dataset.name)")
    assert len(names) > 20
    assert names == sorted(names)
    page.locator("#order").select_option("number")
    counts = [int(text) for text in chips.locator("b").all_text_contents()]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == 90
    page.locator("#search").fill("cat")
    assert set(chips.evaluate_all("(all) => all.map((chip) => chip.dataset.name)")) == {"cat"}
    page.get_by_role("button", name="Only cat").click()
    assert set(listed(page)) == {"cat"}
    page.locator("#all").click()
    expect(page.locator("#count")).to_have_text("90 of 180")
    page.locator("#none").click()
    assert listed(page) == []
    page.locator("#all").click()
    page.locator("#search").fill("")
    slide(page, "#score", 0.98)
    assert 0 < chips.count() < 10
    assert "0" not in chips.locator("b").all_text_contents()


@pytest.mark.parametrize("number", [0, 40, 89])
def test_on_a_phone_the_picture_stays_in_sight(crowded: Callable[..., Page], number: int) -> None:
    """The list scrolls, not the page; the numbers are at the picture."""
    page = crowded(**PHONE)
    place = page.locator("#frame").bounding_box()
    page.locator("#list li:visible").nth(number).tap()
    assert page.evaluate("[scrollX, scrollY]") == [0, 0]
    assert page.evaluate("document.documentElement.scrollHeight - innerHeight") <= 0
    now, numbers = page.locator("#frame").bounding_box(), page.locator("#detail").bounding_box()
    assert place is not None
    assert now == place
    assert numbers is not None
    assert place["height"] > 300
    assert numbers["y"] >= place["y"]
    assert numbers["y"] + numbers["height"] <= place["y"] + place["height"]
    assert numbers["height"] < place["height"] / 2


def test_shortcuts_work_after_a_click_on_a_button(found: Page) -> None:
    masks = found.get_by_role("button", name="Masks")
    masks.click()
    expect(masks).to_have_attribute("aria-pressed", "false")
    found.keyboard.press("m")
    expect(masks).to_have_attribute("aria-pressed", "true")
    found.locator("#list li").first.click()
    found.locator("#label").focus()
    found.keyboard.press("m")
    expect(masks).to_have_attribute("aria-pressed", "true")


def test_how_the_page_looks_is_remembered_and_nothing_else(site: Site, page: Page) -> None:
    choose_sample(page)
    assert page.evaluate("localStorage.length") == 0
    page.locator("#theme").click()
    page.get_by_role("button", name="Boxes").click()
    page.locator("#look summary").click()
    page.locator("#colours").select_option("class")
    slide(page, "#opacity", 0.8)
    page.locator("#format").select_option("coco")
    kept = page.evaluate("Object.entries(localStorage)")
    assert [name for name, _ in kept] == ["maskrcnn-playground"]
    assert "sample" not in kept[0][1]
    page.goto(site.url)
    choose_sample(page)
    expect(page.get_by_role("button", name="Boxes")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")
    assert page.locator("#colours").input_value() == "class"
    assert page.locator("#opacity").input_value() == "0.8"
    assert page.locator("#format").input_value() == "coco"
    colours = page.locator("#list li").evaluate_all(
        "(all) => all.map((row) => row.style.getPropertyValue('--colour'))"
    )
    assert colours[0] == colours[2] != colours[1]


def test_a_spoilt_memory_is_forgotten(site: Site, page: Page) -> None:
    page.evaluate("localStorage.setItem('maskrcnn-playground', '{\"opacity\": [], \"masks\"')")
    page.goto(site.url)
    choose_sample(page)
    expect(page.locator("#count")).to_have_text("4 of 6")


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_an_address_is_opened(page: Page, picture: bytes, event: str) -> None:
    """Pasted or dropped; what the server refuses is said, in its words."""
    paste = """([event, text]) => {
        const data = new DataTransfer();
        data.setData("text/plain", text);
        const made = event === "drop"
            ? new DragEvent("drop", { dataTransfer: data, bubbles: true })
            : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
        document.body.dispatchEvent(made);
    }"""
    page.locator("#welcome .samples button").wait_for()
    page.evaluate(paste, [event, "no address"])
    expect(page.locator("#error")).to_be_hidden()
    page.evaluate(paste, [event, "https://images.example/photo.png?key=1"])
    expect(page.locator("#error")).to_contain_text("fetches no images")
    page.route(
        "**/playground/address",
        lambda route: route.fulfill(body=picture, content_type="image/png"),
    )
    page.evaluate(paste, [event, "https://images.example/photo.png?key=1"])
    expect(page.locator("#count")).to_have_text("4 of 6")
    expect(page.locator("#error")).to_be_hidden()
    expect(page.locator("#snippet")).to_contain_text("--data-binary @photo.png")
