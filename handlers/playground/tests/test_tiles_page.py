"""Tiles on the playground's page: drawn while they come, in a browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from io import BytesIO

import cv2
import numpy as np
import PIL.Image
import pytest
from playground_site import Serve, Site, give, pixels
from playwright.sync_api import Page, expect

from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks

pytestmark = pytest.mark.full

SPOTS = [(20, 30), (20, 400), (250, 300), (450, 60), (480, 560)]
"""Rows and columns of red squares of 16 pixels."""
ONE = np.uint8(1)


class Gated(FakeModel):
    """Sees each red thing by itself, when it may."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.open = threading.Semaphore(10_000)

    def _one(self, image: Image, _: PredictOptions) -> Detections:
        if image.shape[0] > 200:
            assert self.open.acquire(timeout=30)
        count, labels, stats, _middles = cv2.connectedComponentsWithStats(
            (image[..., 0] > 200) * ONE
        )
        boxes = [(x, y, x + width, y + height) for x, y, width, height, _ in stats[1:].tolist()]
        return Detections(
            (image.shape[0], image.shape[1]),
            np.array(boxes, np.float32).reshape(-1, 4),
            np.full(count - 1, 0.9, np.float32),
            np.ones(count - 1, np.int64),
            BitMasks(np.array([labels == n for n in range(1, count)]).reshape(-1, *labels.shape)),
        )

    def hold(self) -> None:
        """Let nothing more through."""
        while self.open.acquire(blocking=False):
            pass


@pytest.fixture(scope="module")
def model() -> Gated:
    return Gated()


@pytest.fixture(scope="module")
def site(serve: Serve, model: Gated) -> Site:
    return serve(model)


@pytest.fixture
def held(model: Gated) -> Iterator[Gated]:
    """The model, which waits for each call that a test lets through."""
    model.hold()
    yield model
    model.open.release(10_000)


@pytest.fixture(scope="module")
def field() -> bytes:
    shown = np.full((520, 600, 3), 60, np.uint8)
    for y, x in SPOTS:
        shown[y : y + 16, x : x + 16] = (255, 0, 0)
    file = BytesIO()
    PIL.Image.fromarray(shown).save(file, "PNG")
    return file.getvalue()


def test_instances_are_drawn_while_tiles_come(page: Page, held: Gated, field: bytes) -> None:
    expect(page.locator("#model")).not_to_be_empty()
    page.locator("#tile").select_option("256")
    give(page, field, "field.png")
    # The whole picture once, then the tiles of the first two rows.
    counts, drawn = [], []
    expect(page.locator("#canvas")).to_have_attribute("aria-label", "Picture")
    for _ in range(8):
        held.open.release()
        page.wait_for_timeout(150)
        counts.append(page.locator("#list li").count())
        drawn.append(pixels(page))
    assert page.locator("#progress").is_visible()
    assert counts == sorted(counts)
    assert 0 < counts[-1] < len(SPOTS)
    assert len(set(drawn)) > 3
    expect(page.locator("#status")).to_contain_text("of 9 tiles")
    page.locator("#list li").first.click()
    expect(page.locator("#detail dl")).to_contain_text("256 pixels")
    expect(page.locator("#edit")).to_be_hidden()
    held.open.release(10_000)
    expect(page.locator("#count")).to_have_text(f"{len(SPOTS)} of {len(SPOTS)}")
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#status")).to_be_hidden()
    expect(page.locator("#edit")).to_be_visible()
    expect(page.locator("#asked")).to_contain_text("Tiles give finished masks")
    expect(page.locator("#snippet")).to_contain_text("tile=256; overlap=0.25; overview=true")


def test_whoever_looks_at_another_picture_ends_the_tiles(
    page: Page, held: Gated, field: bytes
) -> None:
    page.locator("#tile").select_option("256")
    give(page, field, "field.png")
    held.open.release(3)
    expect(page.locator("#progress")).to_be_visible()
    page.locator("#tile").select_option("whole")
    expect(page.locator("#progress")).to_be_hidden()
    held.open.release(10_000)
    expect(page.locator("#count")).to_have_text("5 of 5")
    expect(page.locator("#snippet")).not_to_contain_text("tile")
    page.locator("#tile").select_option("512")
    expect(page.locator("#count")).to_have_text(f"{len(SPOTS)} of {len(SPOTS)}")


def test_only_a_large_picture_is_cut_unasked(page: Page) -> None:
    give(page, noisy(1200, 900), "small.png")
    expect(page.locator("#found")).to_be_visible()
    expect(page.locator("#snippet")).not_to_contain_text("tile")
    give(page, noisy(6100, 4000), "large.png")
    expect(page.locator("#snippet")).to_contain_text("tile=1024; overlap=0.25; overview=true")
    expect(page.locator("#progress")).to_be_hidden(timeout=60_000)


def noisy(width: int, height: int) -> bytes:
    """A picture with a file of half a megabyte more or less, which the server reads."""
    shown = np.zeros((height, width, 3), np.uint8)
    shown[:700, :600, 2] = np.random.default_rng(0).integers(0, 200, (700, 600))
    file = BytesIO()
    PIL.Image.fromarray(shown).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("end", ["cut", "error"])
def test_a_stream_that_ends_early_is_said(page: Page, field: bytes, end: str) -> None:
    entry = '{"index":0,"error":{"code":"not_ready","message":"it ends","detail":{}}}\n'
    body = {"cut": "", "error": entry}[end]
    page.route(
        "**/invocations",
        lambda route: route.fulfill(status=200, content_type="application/x-ndjson", body=body),
    )
    page.locator("#tile").select_option("256")
    give(page, field, "field.png")
    said = {"cut": "ended before it was complete", "error": "The server says: it ends."}[end]
    expect(page.locator("#error")).to_contain_text(said)
    expect(page.locator("#progress")).to_be_hidden()


def test_a_server_that_does_not_stream_offers_no_tiles(
    site: Site, visit: Callable[..., Page], field: bytes
) -> None:
    page = visit(site)
    expect(page.locator("#tiling")).to_be_visible()

    def without(route: object) -> None:
        reply = route.fetch()  # type: ignore[attr-defined]
        route.fulfill(response=reply, json={**reply.json(), "streams": False})  # type: ignore[attr-defined]

    page.route("**/playground/server.json", without)
    page.reload()
    give(page, field, "field.png")
    expect(page.locator("#count")).to_have_text("5 of 5")
    expect(page.locator("#tiling")).to_be_hidden()
