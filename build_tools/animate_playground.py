#!/usr/bin/env python3
"""Make the README's moving picture from the real playground, with the bundled demo model.

animate_playground.py [--out FILE.webp]
"""

import argparse
import shutil
import sys
from io import BytesIO
from pathlib import Path
from typing import Final

import PIL.Image
import PIL.ImageDraw
from playwright.sync_api import Locator, Page, ViewportSize, expect, sync_playwright

from maskrcnn_predict.child import served
from maskrcnn_server.plugins import Plugins

OUT = Path(__file__).parents[1] / "docs/screenshots/playground.webp"
SIZE: Final[ViewportSize] = {"width": 1120, "height": 700}
WIDTH = 840
"""Width of the moving picture in pixels."""
SAMPLE = 2
LONG_MS, SHORT_MS = 1300, 90
STEPS = 7
"""Number of frames of a movement."""
ARROW = ((0, 0), (0, 17), (4, 13), (7, 19), (10, 18), (7, 12), (12, 12))
DROPPED = """async (number) => {
    const blob = await (await fetch(`playground/samples/${number}`)).blob();
    const data = new DataTransfer();
    data.items.add(new File([blob], "photo.png", { type: blob.type }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
}"""


class Film:
    """Frames of a page, with an arrow where the mouse is."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[PIL.Image.Image] = []
        self._times: list[int] = []
        self._at = (SIZE["width"] * 0.8, SIZE["height"] * 0.9)

    def shoot(self, milliseconds: int) -> None:
        """Show the page as it is for so long."""
        frame = PIL.Image.open(BytesIO(self._page.screenshot())).convert("RGB")
        arrow = [(self._at[0] + x, self._at[1] + y) for x, y in ARROW]
        PIL.ImageDraw.Draw(frame).polygon(arrow, "white", "black", width=2)
        height = frame.height * WIDTH // frame.width
        self._frames.append(frame.resize((WIDTH, height), PIL.Image.Resampling.LANCZOS))
        self._times.append(milliseconds)

    def go(self, to: Locator, share: float = 0.5) -> None:
        """Move the mouse to a place of an element, in frames."""
        box = to.bounding_box()
        if box is None:
            raise ValueError(f"{to} is not on the page")
        x, y = self._at
        u, v = box["x"] + box["width"] * share, box["y"] + box["height"] / 2
        for step in range(1, STEPS + 1):
            part = step / STEPS
            self._at = (x + (u - x) * part, y + (v - y) * part)
            self._page.mouse.move(*self._at)
            self.shoot(SHORT_MS)

    def save(self, out: Path) -> None:
        """Write the frames as an animated WebP, which begins again at its end."""
        first, *others = self._frames
        first.save(
            out,
            save_all=True,
            append_images=others,
            duration=self._times,
            loop=0,
            quality=55,
            method=6,
        )


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="Where to write (default: docs).")
    out = parser.parse_args().out
    program = shutil.which("chromium")
    if program is None:
        sys.exit("there is no browser: install chromium")
    demo = next(iter(Plugins().demos().values()))
    with served(demo.model_dir, demo.backend) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        page = browser.new_context(viewport=SIZE).new_page()
        page.goto(url)
        page.locator("#welcome .samples button").first.wait_for()
        film = Film(page)
        play(page, film)
        browser.close()
    film.save(out)
    sys.stdout.write(f"{out}: {out.stat().st_size / 1e6:.2f} MB\n")


def play(page: Page, film: Film) -> None:
    """Drop a picture, slide, look, correct, and export."""
    film.shoot(LONG_MS)
    page.evaluate("document.body.classList.add('dragging')")
    film.go(page.locator("#frame"))
    page.evaluate("document.body.classList.remove('dragging')")
    page.evaluate(DROPPED, SAMPLE)
    expect(page.locator("#found")).to_be_visible(timeout=30_000)
    page.wait_for_timeout(400)
    film.shoot(LONG_MS)
    slider = page.locator("#score")
    film.go(slider, 0.5)
    page.mouse.down()
    film.go(slider, 0.95)
    film.go(slider, 0.12)
    film.shoot(LONG_MS)
    film.go(slider, 0.45)
    page.mouse.up()
    row = page.locator("#list li:visible").nth(1)
    film.go(row)
    row.click()
    film.shoot(LONG_MS)
    film.go(page.locator("#wrong"))
    page.locator("#wrong").click()
    film.shoot(LONG_MS)
    film.go(page.locator("#format"))
    page.locator("#format").select_option("coco")
    film.shoot(LONG_MS)
    film.go(page.locator("#download"))
    with page.expect_download():
        page.locator("#download").click()
    film.shoot(2 * LONG_MS)


if __name__ == "__main__":
    main()
