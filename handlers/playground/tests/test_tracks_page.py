"""Tracks and animated images on the playground's page."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import pycocotools.mask
import pytest
from playground_site import Serve, Site, give, pixels, slide, zoom
from playwright.sync_api import Page, expect

from maskrcnn_playground import tracks
from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server.rle import encode, from_compressed

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("av")
pytest.importorskip("trackers")
pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

DURATIONS_MS = [100, 100, 500, 100, 100, 100, 100, 100, 100, 200]
FRAMES = len(DURATIONS_MS)
HEIGHT, WIDTH, SIDE = 120, 200, 24
BLUE_FROM = 4
ROWS = "#list li"
AT = """([x, y, scale]) => {
    const canvas = document.getElementById("canvas");
    const place = (length, side, at) => length / 2 + (at - side / 2) * scale * devicePixelRatio;
    const left = place(canvas.width, 200, x), top = place(canvas.height, 120, y);
    return [...canvas.getContext("2d").getImageData(left, top, 1, 1).data].slice(0, 3);
}"""
"""The colour at a point of the image, of 200 x 120 pixels, that is shown in the middle."""


def left(number: int) -> int:
    """Where the red square is."""
    return 10 + 8 * number


def frame(number: int) -> PIL.Image.Image:
    """A red square that moves to the right, and a blue one that is seen from frame 4 on."""
    shown = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    shown[10 : 10 + SIDE, left(number) : left(number) + SIDE, 0] = 255
    if number >= BLUE_FROM:
        shown[70 : 70 + SIDE, 150 - left(number) : 150 - left(number) + SIDE, 2] = 200
    return PIL.Image.fromarray(shown)


@pytest.fixture(scope="module")
def moving() -> bytes:
    """An animated PNG, whose third frame is shown for long."""
    first, *others = map(frame, range(FRAMES))
    file = BytesIO()
    first.save(file, "PNG", save_all=True, append_images=others, duration=DURATIONS_MS)
    return file.getvalue()


@pytest.fixture(scope="module")
def site(serve: Serve) -> Site:
    return serve(FakeModel(0.5))


def opened(page: Page, content: bytes) -> None:
    """Open an animated image, and wait until all of its frames are known."""
    page.locator("#welcome .samples button").wait_for()
    give(page, content, "moving.png")
    expect(page.locator("#bars span:not(.waiting)")).to_have_count(FRAMES, timeout=20_000)


def followed(page: Page, content: bytes) -> None:
    opened(page, content)
    expect(page.locator(ROWS).first).to_contain_text(f"{FRAMES} of {FRAMES} frames", timeout=20_000)


def go(page: Page, number: int) -> None:
    begin_ms = sum(DURATIONS_MS[:number])
    page.locator("#seek").fill(str((begin_ms + DURATIONS_MS[number] / 2) / 1000))
    expect(page.locator("#time")).to_contain_text(f"{begin_ms / 1000:.1f} s")


def names(page: Page) -> list[str]:
    return page.locator(f"{ROWS} .name").all_text_contents()


def test_the_list_has_tracks_that_keep_their_colours(page: Page, moving: bytes) -> None:
    followed(page, moving)
    expect(page.locator("#found-name")).to_have_text("Tracks")
    expect(page.locator("#count")).to_have_text("2 of 2")
    assert names(page) == ["1 red", "2 blue"]
    expect(page.locator(ROWS).nth(1)).to_contain_text("6 of 10 frames")
    expect(page.locator(f"{ROWS}.away")).to_have_count(1)
    for mark in ("boxes", "labels"):
        page.locator(f"#show button[value={mark}]").click()
    page.locator("#look summary").click()
    slide(page, "#opacity", 1)
    scale, colours = zoom(page) / 100, set()
    for number in (0, 3, 9):
        go(page, number)
        pixels(page)
        at = [left(number) + SIDE / 2, 10 + SIDE / 2, scale]
        colours.add(tuple(page.evaluate(AT, at)))
    (colour,) = colours
    assert colour == tuple(
        page.evaluate("import('./playground/overlay.js').then((m) => m.colour(1))")
    )
    expect(page.locator(f"{ROWS}.away")).to_have_count(0)


def test_a_track_is_selected_through_the_clip(page: Page, moving: bytes) -> None:
    followed(page, moving)
    page.locator(ROWS).nth(1).click()
    expect(page.locator("#time")).to_contain_text(f"{sum(DURATIONS_MS[:BLUE_FROM]) / 1000:.1f} s")
    expect(page.locator("#bars .seen")).to_have_count(FRAMES - BLUE_FROM)
    facts = page.locator("#detail dd")
    expect(facts.nth(0)).to_have_text("2")
    expect(facts.nth(1)).to_have_text("blue")
    page.locator("#seek").press("ArrowRight")
    expect(page.locator("#time")).to_contain_text("0.9 s")
    expect(page.locator(f"{ROWS}[aria-selected=true] .name")).to_have_text("2 blue")
    go(page, 0)
    expect(page.locator("#detail")).to_be_hidden()


def test_tracks_are_followed_anew_and_can_be_switched_off(page: Page, moving: bytes) -> None:
    followed(page, moving)
    slide(page, "#score", 0.9)
    expect(page.locator("#count")).to_have_text("1 of 1")
    assert names(page) == ["1 red"]
    slide(page, "#score", 0.5)
    expect(page.locator("#count")).to_have_text("2 of 2")
    page.locator("#tracks").click()
    expect(page.locator("#found-name")).to_have_text("Instances")
    assert names(page) == ["red"]
    go(page, 9)
    assert sorted(names(page)) == ["blue", "red"]
    page.locator("#tracks").click()
    assert names(page) == ["1 red", "2 blue"]


def downloaded(page: Page, form: str) -> tuple[str, str]:
    page.locator("#track-format").select_option(form)
    with page.expect_download() as download:
        page.locator("#download-tracks").click()
    return download.value.suggested_filename, Path(download.value.path()).read_text()


def test_tracks_are_exported(page: Page, moving: bytes) -> None:
    followed(page, moving)
    expect(page.locator("#track-command")).to_have_text(
        "maskrcnn-server predict moving.png --track --json moving.json"
    )
    name, text = downloaded(page, "coco-video")
    content = json.loads(text)
    begins = np.cumsum([0, *DURATIONS_MS[:-1]]) / 1000
    assert content["videos"][0]["timestamps"] == pytest.approx(begins)
    red, blue = content["annotations"]
    assert (name, content["categories"][red["category_id"] - 1]["name"]) == (
        "moving.coco-video.json",
        "red",
    )
    assert [box is None for box in blue["bboxes"]] == [True] * BLUE_FROM + [False] * 6
    mask = pycocotools.mask.decode(red["segmentations"][5])
    exact = np.asarray(frame(5))[..., 0] > 127
    assert (mask == exact).mean() > 0.99
    assert red["areas"][5] == pytest.approx(SIDE**2, rel=0.1)
    page.get_by_role("checkbox", name="red").uncheck()
    name, text = downloaded(page, "mots")
    assert name == "moving.mots.txt"
    assert [int(line.split()[0]) for line in text.splitlines()] == list(range(BLUE_FROM, FRAMES))


def test_a_server_that_follows_nothing_says_so(
    monkeypatch: pytest.MonkeyPatch, site: Site, visit: Callable[..., Page], moving: bytes
) -> None:
    monkeypatch.setattr(tracks, "are_installed", lambda: False)
    page = visit(site)
    before = len(site.asked)
    opened(page, moving)
    expect(page.locator("#clip-said")).to_contain_text("Tracks need maskrcnn-playground[clips]")
    expect(page.locator("#track-command")).to_have_text("pip install 'maskrcnn-playground[clips]'")
    for name in ("#tracks", "#track-row"):
        expect(page.locator(name)).to_be_hidden()
    assert names(page) == ["red"]
    assert "/playground/tracks" not in site.asked[before:]


def test_an_animated_image_plays_by_its_own_times(page: Page, moving: bytes) -> None:
    opened(page, moving)
    expect(page.locator("#clip-said")).to_contain_text("10 frames are looked at, in 1.5 seconds")
    grown = "[...document.querySelectorAll('#bars span')].map((one) => Number(one.style.flexGrow))"
    assert page.evaluate(grown) == pytest.approx(np.array(DURATIONS_MS) / 1000)
    seen = page.evaluate_handle(
        """() => {
            const seen = [];
            new MutationObserver(() => seen.push(document.getElementById("time").textContent))
                .observe(document.getElementById("time"), { childList: true });
            return seen;
        }"""
    )
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("Pause")
    expect(page.locator("#play")).to_have_text("Play", timeout=10_000)
    times = [text[:5] for text in seen.json_value()]
    assert {"0.2 s", "1.3 s"} <= set(times)
    assert times == sorted(times)
    page.locator("#seek").press("Home")
    expect(page.locator("#time")).to_contain_text("0.0 s")


def test_animated_images_are_known_by_their_bytes(page: Page) -> None:
    page.locator("#welcome .samples button").wait_for()
    first, *others = map(frame, range(FRAMES))
    for form in ("PNG", "GIF", "WEBP"):
        for rest, shown, hidden in (([], "#take", "#clip"), (others, "#clip", "#take")):
            file = BytesIO()
            options = {"save_all": True, "append_images": rest, "duration": 50} if rest else {}
            first.save(file, form, **options)
            give(page, file.getvalue(), f"a.{form.lower()}", f"image/{form.lower()}")
            expect(page.locator(shown)).to_be_visible()
            expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#error")).to_be_hidden()


def test_of_a_broken_one_the_first_frame_can_be_looked_at(page: Page, moving: bytes) -> None:
    page.locator("#welcome .samples button").wait_for()
    give(page, moving[: len(moving) * 3 // 4], "broken.png")
    expect(page.locator("#error")).to_contain_text("frame ")
    page.get_by_role("button", name="Look at its first frame").click()
    expect(page.locator("#take")).to_be_visible()
    expect(page.locator("#count")).to_have_text("1 of 1")


def test_run_lengths_are_compressed_as_coco_does(page: Page) -> None:
    random = np.random.default_rng(0)
    code = "(counts) => import('./playground/tracks.js').then((m) => m.compressed(counts))"
    for share in (0.0, 0.02, 0.5, 1.0):
        bitmap = random.random((40, 700)) < share
        runs = encode(bitmap, "columns")
        text = page.evaluate(code, [*runs.counts.tolist(), 0])
        assert text == runs.compressed()
        assert (from_compressed(text, (40, 700)).bitmap() == bitmap).all()
