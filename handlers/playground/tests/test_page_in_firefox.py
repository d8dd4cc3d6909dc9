"""The page in Firefox: look, slide, edit, and what a file would say."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from firefox import PROGRAM, Tab, firefox
from playground_site import Site

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(PROGRAM is None, reason="there is no Firefox: install firefox-esr"),
]

COUNT = "document.getElementById('count').textContent"
SELECT = "document.getElementById('instance-0').click()"
PLACE = """(async () => {
    const { ask, parsed } = await import("./playground/server.js");
    const { outline } = await import("./playground/outline.js");
    const blob = await (await fetch("playground/samples/0")).blob();
    const file = new File([blob], "a.png", { type: "image/png" });
    const options = { score_threshold: 0.05, mask_threshold: 0.5, format: "soft" };
    const { size: [height, width], instances } = parsed((await ask(file, null, options)).bytes);
    const points = outline(instances[0].mask, [height, width], 0.5).flat();
    const [x, y] = points.reduce((best, one) => (one[0] < best[0] ? one : best));
    const box = canvas.getBoundingClientRect();
    const scale = parseFloat(fit.textContent) / 100;
    const put = (u, v) => [
        box.x + box.width / 2 + (u - width / 2) * scale,
        box.y + box.height / 2 + (v - height / 2) * scale,
    ];
    return [put(x, y), put(2, y)];
})()"""


@pytest.fixture
def tab(site: Site, tmp_path: Path) -> Iterator[Tab]:
    """The page after the sample has been looked at."""
    pytest.importorskip("websockets")
    with firefox(tmp_path) as opened:
        opened.goto(site.url, 1200, 800)
        look(opened)
        yield opened
        assert not opened.errors


def look(tab: Tab) -> None:
    """Choose the sample, and wait for what is found in it."""
    tab.wait("document.querySelector('#welcome .samples button') !== null")
    tab.run("document.querySelector('#welcome .samples button').click()")
    tab.wait(f"{COUNT} === '4 of 6'")


def test_it_works_in_firefox(tab: Tab) -> None:
    """Masks are drawn, the slider slides, a point is dragged, one is deleted, and all undone."""
    tab.run(
        "(() => { score.value = 0.05; score.dispatchEvent(new Event('input')); })()",
    )
    assert tab.run(COUNT) == "6 of 6"
    tab.run(SELECT)
    tab.press("e")
    tab.press("0")
    assert tab.run("document.getElementById('outline').getAttribute('aria-pressed')") == "true"
    before = tab.run("document.querySelector('#detail dl').textContent")
    start, end = tab.run(PLACE)
    tab.drag(tuple(start), tuple(end))
    after = tab.run("document.querySelector('#detail dl').textContent")
    assert after != before
    assert "x, y2.0," in after
    tab.press("\ue00c")
    tab.press("\ue017")
    assert tab.run(COUNT) == "5 of 5"
    for _ in range(2):
        tab.run("undo.click()")
    assert tab.run(COUNT) == "6 of 6"
    assert tab.run("document.getElementById('undo').disabled")


def test_a_phone_shows_it_in_firefox(tab: Tab, site: Site) -> None:
    tab.goto(site.url, 390, 844)
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    look(tab)
    tab.run(SELECT)
    assert tab.run("document.documentElement.scrollHeight <= innerHeight")
    assert tab.run("detail.getBoundingClientRect().bottom <= frame.getBoundingClientRect().bottom")


def test_tiles_and_clips_work_in_firefox(tab: Tab) -> None:
    """A picture in tiles; then a clip, which is sought through by its time line."""
    tab.run("(() => { tile.value = '256'; tile.dispatchEvent(new Event('change')); })()")
    tab.wait("document.getElementById('asked').textContent.startsWith('Tiles give')")
    av = pytest.importorskip("av")
    file = BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.height, stream.width, stream.pix_fmt = 90, 120, "yuv420p"
        for level in range(0, 200, 20):
            shown = np.full((90, 120, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())
    drop(tab, file.getvalue(), "a.webm", "video/webm")
    tab.wait("document.querySelectorAll('#bars span:not(.waiting)').length === 10")
    tab.run("(() => { seek.value = 0.75; seek.dispatchEvent(new Event('input')); })()")
    tab.wait("document.getElementById('time').textContent === '0.7 s · 4 instances'")
    tab.run("play.click()")
    tab.wait("video.ended")
    tab.wait("document.getElementById('time').textContent === '0.9 s · 4 instances'")
    tab.wait("document.querySelectorAll('#list .note').length === 4")


def test_animated_images_play_in_firefox(tab: Tab) -> None:
    pytest.importorskip("av")
    first, *others = (PIL.Image.new("L", (120, 90), level) for level in (0, 40, 80))
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=[100, 300, 100])
    drop(tab, file.getvalue(), "a.gif", "image/gif")
    tab.wait("document.querySelectorAll('#bars span:not(.waiting)').length === 3")
    tab.run("(() => { seek.value = 0.3; seek.dispatchEvent(new Event('input')); })()")
    tab.wait("document.getElementById('time').textContent === '0.1 s · 4 instances'")
    tab.run("play.click()")
    tab.wait("document.getElementById('time').textContent === '0.4 s · 4 instances'")
    tab.wait("play.textContent === 'Play'")


def drop(tab: Tab, content: bytes, name: str, kind: str) -> None:
    """Drop a file on the page."""
    encoded = base64.b64encode(content).decode()
    tab.run(
        f"""(() => {{
            const bytes = Uint8Array.from(atob("{encoded}"), (c) => c.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "{name}", {{ type: "{kind}" }}));
            const dropped = {{ dataTransfer: data, bubbles: true }};
            document.body.dispatchEvent(new DragEvent("drop", dropped));
        }})()"""
    )
