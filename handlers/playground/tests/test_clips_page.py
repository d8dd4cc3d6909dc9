"""Clips on the playground's page: frames are asked about, and drawn over with a time line."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from io import BytesIO

import cv2
import numpy as np
import pytest
from playground_site import Serve, Site, give, pixels, slide
from playwright.sync_api import Page, expect

from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks

av = pytest.importorskip("av")
pytest.importorskip("trackers")
pytestmark = pytest.mark.full

RATE, FRAMES = 10, 20
SQUARE = 24
ONE = np.uint8(1)
BARS = "[...document.querySelectorAll('#bars span')]"


class Squares(FakeModel):
    """Sees each red thing by itself."""

    def _one(self, image: Image, _: PredictOptions) -> Detections:
        count, labels, stats, _middles = cv2.connectedComponentsWithStats(
            ((image[..., 0] > 150) & (image[..., 1] < 100)) * ONE
        )
        large = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] > 100]
        boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[large].tolist()]
        return Detections(
            (image.shape[0], image.shape[1]),
            np.array(boxes, np.float32).reshape(-1, 4),
            np.linspace(0.9, 0.6, len(large), dtype=np.float32),
            np.ones(len(large), np.int64),
            BitMasks(np.array([labels == n for n in large]).reshape(-1, *labels.shape)),
        )


def seen(frame: int) -> int:
    """Number of squares in a frame: one more each half second."""
    return 1 + frame // 5


def clip(frames: int = FRAMES, rate: int = RATE, size: tuple[int, int] = (120, 200)) -> bytes:
    """Red squares on gray that move to the right (VP8 in WebM)."""
    file = BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        for number in range(frames):
            shown = np.full((*size, 3), 90, np.uint8)
            for k in range(seen(number)):
                y, x = 5 + 28 * (k % 4), 10 + 4 * number % 100
                shown[y : y + SQUARE, x : x + SQUARE] = (255, 0, 0)
            picture = av.VideoFrame.from_ndarray(shown, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return file.getvalue()


@pytest.fixture(scope="module")
def moving() -> bytes:
    return clip()


@pytest.fixture(scope="module")
def site(serve: Serve) -> Site:
    return serve(Squares(0.5))


def opened(page: Page, content: bytes, count: int) -> None:
    """Open a clip, and wait until all of its frames are known."""
    give(page, content, "moving.webm", "video/webm")
    expect(page.locator("#bars span:not(.waiting)")).to_have_count(count, timeout=20_000)
    expect(page.locator("#status")).to_be_hidden()


def heights(page: Page) -> list[float]:
    return list(page.evaluate(f"{BARS}.map((one) => Number(one.style.getPropertyValue('--at')))"))


def test_a_clip_has_a_time_line_with_its_instances(page: Page, moving: bytes) -> None:
    opened(page, moving, FRAMES)
    expected = [seen(frame) / seen(FRAMES - 1) for frame in range(FRAMES)]
    assert np.mean(np.isclose(heights(page), expected)) >= 0.8
    expect(page.locator("#time")).to_have_text("0.0 s · 1 instance")
    expect(page.locator("#clip-said")).to_contain_text("20 frames are looked at, 10 a second")
    expect(page.locator("#clip-said")).to_contain_text("at most 300 of 1280 pixels")
    expect(page.locator("#take")).to_be_hidden()
    slide(page, "#score", 0.85)
    # Tracks are followed anew.
    page.wait_for_function(f"{BARS}.every((one) => one.style.getPropertyValue('--at') === '1')")
    expect(page.locator("#time")).to_have_text("0.0 s · 1 instance")


def test_seeking_shows_what_was_found_there(page: Page, moving: bytes) -> None:
    opened(page, moving, FRAMES)
    before = pixels(page)
    page.locator("#seek").fill("1.75")
    expect(page.locator("#time")).to_have_text("1.7 s · 4 instances")
    expect(page.locator("#count")).to_have_text("4 of 4")
    assert pixels(page) != before
    page.locator("#list li").first.click()
    expect(page.locator("#detail dl")).to_be_visible()
    expect(page.locator("#edit")).to_be_hidden()
    place = page.locator("#detail dt", has_text="x, y").locator("+ dd")
    box = place.text_content() or ""
    assert abs(float(box.split(",")[0]) - (10 + 4 * 17 % 100)) < 5


def test_it_plays_by_keyboard_alone(page: Page, moving: bytes) -> None:
    opened(page, moving, FRAMES)
    page.locator("#frame").focus()
    page.keyboard.press("k")
    expect(page.locator("#play")).to_have_text("Pause")
    expect(page.locator("#time")).to_have_text("1.9 s · 4 instances")
    expect(page.locator("#play")).to_have_text("Play")
    page.locator("#seek").focus()
    page.keyboard.press("Home")
    expect(page.locator("#time")).to_have_text("0.0 s · 1 instance")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#time")).to_contain_text("0.1 s")
    said = page.locator("#seek").get_attribute("aria-valuetext")
    assert said == "0.1 s, 1 instance"


def test_masks_are_drawn_over_the_frame_of_the_moment(page: Page, moving: bytes) -> None:
    opened(page, moving, FRAMES)
    page.locator("#seek").fill("1.05")
    expect(page.locator("#time")).to_contain_text("1.0 s")
    with_masks = pixels(page)
    page.locator("#show button[value=masks]").click()
    assert pixels(page) != with_masks


def test_few_frames_are_with_the_server_at_a_time_and_busy_is_waited_for(
    page: Page, moving: bytes
) -> None:
    under, most, refusals = 0, 0, 3

    def watched(route: object) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            error = {"code": "queue_full", "message": "later", "detail": {}}
            route.fulfill(status=429, json={"error": error})  # type: ignore[attr-defined]
        else:
            route.continue_()  # type: ignore[attr-defined]

    def begun(request: object) -> None:
        nonlocal under, most
        if "invocations" in request.url:  # type: ignore[attr-defined]
            under += 1
            most = max(most, under)

    def ended(request: object) -> None:
        nonlocal under
        if "invocations" in request.url:  # type: ignore[attr-defined]
            under -= 1

    page.on("request", begun)
    page.on("requestfinished", ended)
    page.route("**/invocations", watched)
    opened(page, moving, FRAMES)
    assert 1 < most <= 3
    expect(page.locator("#error")).to_be_hidden()


def test_another_picture_ends_the_clip_and_its_answers_are_kept(
    page: Page, site: Site, moving: bytes, picture: bytes
) -> None:
    opened(page, moving, FRAMES)
    give(page, picture)
    expect(page.locator("#clip")).to_be_hidden()
    expect(page.locator("#take")).to_be_visible()
    before = len(site.asked)
    page.locator("#strip button").first.click()
    expect(page.locator("#bars span:not(.waiting)")).to_have_count(FRAMES)
    expect(page.locator("#status")).to_be_hidden()
    assert "/invocations" not in site.asked[before:]


@pytest.mark.parametrize(
    ("duration", "width", "height", "expected"),
    [
        (2, 200, 120, {"count": 20, "rate": 10, "size": [120, 200]}),
        (600, 3840, 2160, {"count": 300, "rate": 0.5, "size": [720, 1280]}),
        (0.01, 100, 5000, {"count": 1, "rate": 10, "size": [1280, 26]}),
    ],
    ids=["short", "long and large", "one frame"],
)
def test_a_clip_is_bounded(
    page: Page, duration: float, width: int, height: int, expected: dict[str, object]
) -> None:
    shown = json.dumps({"duration": duration, "videoWidth": width, "videoHeight": height})
    code = f"async () => (await import('./playground/film.js')).plan({shown})"
    assert page.evaluate(code) == expected


def test_what_no_browser_plays_is_said(page: Page) -> None:
    give(page, b"no clip at all", "broken.mp4", "video/mp4")
    expect(page.locator("#error")).to_have_text("This browser cannot play broken.mp4.")
    expect(page.locator("#clip")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_room_for_it(
    site: Site, visit: Callable[..., Page], moving: bytes, scheme: str
) -> None:
    size = {"width": 390, "height": 844}
    page = visit(site, viewport=size, color_scheme=scheme, bypass_csp=True)
    opened(page, moving, FRAMES)
    expect(page.locator("#list .note")).to_have_count(4)
    page.locator("#list li").first.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in ("#play", "#tracks", "#seek", "#time"):
        box = page.locator(name).bounding_box()
        assert box is not None
        assert box["width"] > 60
        assert box["x"] + box["width"] <= 390
    shown = page.locator("#canvas").bounding_box()
    assert shown is not None
    assert shown["height"] > 200
    pytest.importorskip("axe_playwright_python")
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    page.evaluate(axe)
    assert page.evaluate("async () => (await axe.run()).violations.map(({ id }) => id)") == []


def test_a_question_that_changes_is_asked_about_every_frame_anew(
    page: Page, site: Site, moving: bytes
) -> None:
    """As by another model, or another choice of tiles, in the middle of a clip."""
    give(page, moving, "moving.webm", "video/webm")
    expect(page.locator("#bars span:not(.waiting)")).not_to_have_count(0)
    page.evaluate("tile.value = '256'; tile.dispatchEvent(new Event('change'))")
    before = site.asked.count("/invocations")
    expect(page.locator("#bars span:not(.waiting)")).to_have_count(FRAMES, timeout=20_000)
    expect(page.locator("#status")).to_be_hidden()
    assert site.asked.count("/invocations") - before >= FRAMES - 3
    expect(page.locator("#error")).to_be_hidden()
