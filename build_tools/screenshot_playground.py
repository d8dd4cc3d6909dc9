#!/usr/bin/env python3
"""Take the screenshots of docs: the bundled demo model, in headless Chromium and as images.

screenshot_playground.py [--out FOLDER]
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import PIL.Image
from playwright.sync_api import Browser, expect, sync_playwright

from maskrcnn_predict.child import running, serve_command, served
from maskrcnn_server.backend import Demo
from maskrcnn_server.plugins import Plugins

DOCS = Path(__file__).parents[1] / "docs/screenshots"
SCREEN: MappingProxyType[str, Any] = MappingProxyType({"viewport": {"width": 1280, "height": 860}})
PHONE = MappingProxyType(
    {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    }
)
TABLET = MappingProxyType({"viewport": {"width": 820, "height": 1180}, "has_touch": True})
SAMPLE = 2
TRACK = 6
"""Number of a track that is seen in about half of the frames."""
DRAWN = ("overlay", "instance-map")
"""Response formats that are images."""
TWO = """
defaults: {{backend: {backend}}}
models:
  as-trained: {{model: {model}}}
  small-images: {{model: {model}, config: {{PREPROC.TEST_SHORT_EDGE_SIZE: 96}}}}
"""
"""A models.yaml with the demo model, and the same on images of less than half the size."""
WAIT_MS = 30_000
SETTLE_MS = 400


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOCS, help="Where to write (default: docs).")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium")
    if program is None:
        sys.exit("there is no browser: install chromium")
    demo = next(iter(Plugins().demos().values()))
    with served(demo.model_dir, demo.backend) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        take(browser, url, out / "playground-desktop.png", SCREEN, None)
        take(browser, url, out / "playground-dark.png", SCREEN | {"color_scheme": "dark"}, 1)
        take(browser, url, out / "playground-tablet.png", TABLET, 1)
        take(browser, url, out / "playground-phone.png", PHONE, 1)
        for name in DRAWN:
            (out / f"{name}.png").write_bytes(drawn(url, demo.images[SAMPLE], name))
        take_clip(browser, url, out / "playground-clip.png")
        with two_models(demo) as two:
            take(browser, two, out / "playground-compare.png", SCREEN, None)
        browser.close()


def drawn(url: str, image: Path, form: str) -> bytes:
    """The server's reply to an image in a response format."""
    headers = {"Content-Type": "image/png", "X-Amzn-SageMaker-Custom-Attributes": f"format={form}"}
    request = urllib.request.Request(f"{url}/invocations", image.read_bytes(), headers)
    with urllib.request.urlopen(request) as reply:
        body: bytes = reply.read()
    return body


@contextmanager
def two_models(demo: Demo) -> Iterator[str]:
    """The address of a server with two models that find different instances."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models.yaml"
        models.write_text(TWO.format(model=demo.model_dir, backend=demo.backend))
        with running(serve_command("--models", str(models))) as server:
            yield server.url


def take_clip(browser: Browser, url: str, out: Path) -> None:
    """Make a clip, have all its frames looked at, and take a picture of one in its middle."""
    page = browser.new_context(**SCREEN).new_page()
    page.goto(url)
    page.locator("#welcome .samples button").nth(SAMPLE).wait_for()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "shapes.mp4"
        make = Path(__file__).with_name("make_clip.py")
        subprocess.run([sys.executable, str(make), str(clip)], check=True, capture_output=True)
        page.locator("#file").set_input_files(clip)
        expect(page.locator("#clip")).to_be_visible()
        expect(page.locator("#bars .waiting")).to_have_count(0, timeout=WAIT_MS)
        page.locator("#status").wait_for(state="hidden")
        expect(page.locator("#list .note").first).to_contain_text("of 36 frames")
        page.locator("#seek").fill("1.55")
        page.locator("#list li").nth(TRACK).click()
        page.wait_for_timeout(SETTLE_MS)
        picture = PIL.Image.open(BytesIO(page.screenshot())).convert("RGB")
    picture.save(out, optimize=True)


def take(
    browser: Browser, url: str, out: Path, screen: Mapping[str, Any], selected: int | None
) -> None:
    """Look at a sample, and take a picture: with an instance selected perhaps, its points if dark.

    Models are compared if there are two.
    """
    page = browser.new_context(**screen).new_page()
    page.goto(url)
    page.locator("#welcome .samples button").nth(SAMPLE).wait_for()
    if page.locator("#against").is_visible():
        page.locator("#against select").select_option(index=1)
    page.locator("#welcome .samples button").nth(SAMPLE).click()
    expect(page.locator("#found")).to_be_visible(timeout=WAIT_MS)
    page.locator("#status").wait_for(state="hidden")
    page.wait_for_timeout(SETTLE_MS)
    if selected is not None:
        page.locator("#list li").nth(selected).click()
    if "color_scheme" in screen:
        page.locator("#outline").click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(SETTLE_MS)
    picture = PIL.Image.open(BytesIO(page.screenshot())).convert("RGB")
    picture.save(out, optimize=True)


if __name__ == "__main__":
    main()
