"""The playground as people meet it: in a browser, over a model that needs no framework."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import numpy as np
import PIL.Image
import pytest
from playground_site import (
    HOSTILE,
    Blobs,
    Finished,
    Serve,
    Site,
    choose_sample,
    give,
    listed,
    middle,
    pixels,
    slide,
    zoom,
)
from playwright.sync_api import Error, Page, expect

from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.rle import RLE

pytestmark = pytest.mark.full

MASK_PIXELS = """async ([content, threshold]) => {
    const { ask, parsed } = await import("./playground/server.js");
    const { centres } = await import("./playground/masks.js");
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
    const file = new File([bytes], "a.png", { type: "image/png" });
    const options = { score_threshold: 0.05, mask_threshold: threshold, format: "soft" };
    const { size: [height, width], instances } = parsed((await ask(file, null, options)).bytes);
    const xs = centres(0, width);
    return instances.map(({ mask }) => {
        const sample = mask.sampler(xs, threshold);
        return Array.from({ length: height }, (_, y) => {
            const line = new Uint8Array(width);
            sample(y + 0.5, line);
            return Array.from(line);
        });
    });
}"""


def test_a_sample_is_looked_at(found: Page) -> None:
    assert listed(found) == ["cat", "dog", "cat", HOSTILE]
    expect(found.locator("#count")).to_have_text("4 of 6")
    expect(found.locator("#model")).to_have_text("blobs, fake")
    expect(found.locator("#canvas")).to_have_attribute("aria-label", "Picture with 4 instances")


@pytest.mark.parametrize(
    "event",
    [
        "new DragEvent('drop', { dataTransfer: data, bubbles: true })",
        "new ClipboardEvent('paste', { clipboardData: data, bubbles: true })",
    ],
    ids=["dropped", "pasted"],
)
def test_an_image_is_looked_at_when_it_is(page: Page, picture: bytes, event: str) -> None:
    page.evaluate(
        f"""(content) => {{
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "mine.png", {{ type: "image/png" }}));
            document.body.dispatchEvent({event});
        }}""",
        base64.b64encode(picture).decode(),
    )
    expect(page.locator("#count")).to_have_text("4 of 6")
    expect(page.locator("#snippet")).to_contain_text("--data-binary @mine.png")


def test_the_score_threshold_acts_without_a_request(site: Site, found: Page) -> None:
    before = list(site.asked)
    for least, count in ((0.05, 6), (0.56, 3), (0.95, 1), (1, 0)):
        slide(found, "#score", least)
        expect(found.locator("#count")).to_have_text(f"{count} of 6")
        assert found.locator("#list li:visible").count() == count
    assert site.asked == before


def test_the_mask_threshold_acts_without_a_request(site: Site, found: Page) -> None:
    found.locator("#list li").first.click()
    before = list(site.asked)
    seen, areas = set(), []
    for threshold in (0.2, 0.5, 0.8):
        slide(found, "#mask", threshold)
        seen.add(pixels(found))
        text = found.locator("#detail dd").last.text_content() or ""
        areas.append(int(text.removesuffix(" pixels")))
    assert len(seen) == 3
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > 2 * areas[2] > 0
    assert site.asked == before


def test_classes_can_be_left_out(found: Page) -> None:
    before = pixels(found)
    expect(found.locator("#classes label").first).to_have_text(f"{HOSTILE}1")
    found.get_by_role("checkbox", name="cat").uncheck()
    assert listed(found) == ["dog", HOSTILE]
    assert pixels(found) != before
    expect(found.locator("#snippet")).to_contain_text("classes=2,3;")
    found.get_by_role("checkbox", name="cat").check()
    assert pixels(found) == before
    expect(found.locator("#snippet")).not_to_contain_text("classes")


def test_what_is_pointed_at_stands_out_in_image_and_list(found: Page) -> None:
    before = pixels(found)
    found.locator("#list li").nth(2).hover()
    assert pixels(found) != before
    expect(found.locator("#detail dl")).to_contain_text("0.6000")
    frame = found.locator("#canvas").bounding_box()
    assert frame is not None
    scale = zoom(found) / 100
    middle = (frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    # The third instance's box has its middle at (95.1, 40.4) of 120 x 90.
    found.mouse.move(middle[0] + 35.1 * scale, middle[1] - 4.6 * scale)
    assert found.locator("#list li.marked").count() == 1
    found.mouse.move(frame["x"] + 2, frame["y"] + 2)
    assert found.locator("#list li.marked").count() == 0
    assert pixels(found) == before


def test_the_keyboard_is_enough(page: Page) -> None:
    """From the sample to the numbers of an instance, zoomed in."""
    page.locator("#welcome .samples button").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("4 of 6")
    page.locator("#list").focus()
    whole = zoom(page)
    for key, selected in (("ArrowDown", 0), ("ArrowDown", 1), ("End", 3), ("ArrowUp", 2)):
        page.keyboard.press(key)
        row = page.locator(f"#instance-{selected}")
        expect(row).to_have_attribute("aria-selected", "true")
        expect(page.locator("#list")).to_have_attribute(
            "aria-activedescendant", f"instance-{selected}"
        )
    page.keyboard.press("Enter")
    assert zoom(page) > whole
    page.keyboard.press("0")
    assert zoom(page) == whole
    page.keyboard.press("+")
    assert zoom(page) > whole
    page.keyboard.press("-")
    assert zoom(page) == whole
    page.keyboard.press("Escape")
    assert page.locator("[aria-selected=true][role=option]").count() == 0
    before = pixels(page)
    page.keyboard.press("m")
    assert pixels(page) != before
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()


def test_everything_that_can_be_pressed_is_reached_by_tab_and_shows_it(found: Page) -> None:
    controls = "button:visible:not([tabindex='-1']), a, input:visible, select:visible"
    written = "(all) => all.map((one) => one.outerHTML)"
    wanted = set(found.locator(controls).evaluate_all(written))
    seen = set()
    for _ in range(80):
        found.keyboard.press("Tab")
        html, outline = found.evaluate(
            "() => { const one = document.activeElement; const ring = one.closest('#classes label')"
            " ?? one; const { outlineStyle, outlineWidth } = getComputedStyle(ring);"
            " return [one.outerHTML, `${outlineStyle} ${outlineWidth}`]; }"
        )
        if html in wanted:
            assert outline == "solid 2px", html
        seen.add(html)
    assert wanted <= seen


def test_the_wheel_and_dragging_move_the_image(found: Page) -> None:
    whole = zoom(found)
    found.locator("#canvas").hover(position={"x": 300, "y": 300})
    found.mouse.wheel(0, -800)
    found.wait_for_function("(whole) => parseFloat(fit.textContent) > 2 * whole", arg=whole)
    before = pixels(found)
    found.mouse.down()
    found.mouse.move(200, 200, steps=4)
    found.mouse.up()
    assert pixels(found) != before
    found.locator("#fit").click()
    assert zoom(found) == whole


@pytest.mark.parametrize("model", [Blobs, Finished], ids=["soft masks", "bitmaps"])
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.77])
def test_masks_have_the_pixels_that_the_server_gives(
    serve: Serve,
    site: Site,
    visit: Callable[..., Page],
    picture: bytes,
    model: type[Blobs],
    threshold: float,
) -> None:
    """Every pixel but those whose probability is nearer to the threshold than a byte can tell."""
    place = site if model is Blobs else serve(model())
    answered = visit(place).evaluate(MASK_PIXELS, [base64.b64encode(picture).decode(), threshold])
    shown = [np.array(mask, np.bool_) for mask in answered]
    slack = 1 / 255 if model is Blobs else 0
    exact, more, less = (
        bitmaps(place, picture, t) for t in (threshold, threshold - slack, threshold + slack)
    )
    assert len(shown) == len(exact) == 6
    for page_mask, mask, widest, narrowest in zip(shown, exact, more, less, strict=True):
        assert not (page_mask & ~widest).any()
        assert not (narrowest & ~page_mask).any()
        union = (page_mask | mask).sum()
        assert union == 0 or (page_mask & mask).sum() / union > 0.99
    assert sum(mask.sum() for mask in exact) > 1000


def bitmaps(site: Site, picture: bytes, threshold: float) -> list[np.ndarray]:
    """What the server itself makes of the masks."""
    options = f"score_threshold=0.05; mask_threshold={threshold}"
    headers = {"Content-Type": "image/png", "X-Amzn-SageMaker-Custom-Attributes": options}
    reply = httpx.post(f"{site.url}invocations", content=picture, headers=headers).json()
    masks = [annotation["segmentation"] for annotation in reply["annotations"]]
    return [RLE(np.array(m["counts"]), tuple(m["size"]), "rows").bitmap() for m in masks]


def test_finished_masks_have_no_threshold(serve: Serve, visit: Callable[..., Page]) -> None:
    page = visit(serve(Finished()))
    choose_sample(page)
    expect(page.locator("#mask")).to_be_disabled()
    expect(page.locator("#asked")).to_contain_text("cannot be changed here")
    expect(page.locator("#score")).to_be_enabled()


def test_images_are_upright_as_the_server_sees_them(
    serve: Serve, visit: Callable[..., Page], encode: Callable[..., bytes]
) -> None:
    """A picture that lies on its side in the file, with a red box, whose middle is red."""
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[5:25, 10:30, 0] = 255
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    content = encode(pixels, "JPEG", exif=exif, quality=95)
    place = serve(FakeModel(0.5))
    page = visit(place)
    give(page, content, "a.jpg", "image/jpeg")
    expect(page.locator("#count")).to_have_text("1 of 1")
    expect(page.locator("#status")).to_be_hidden()
    headers = {"Content-Type": "image/jpeg"}
    reply = httpx.post(f"{place.url}invocations", content=content, headers=headers).json()
    x, y, width, height = reply["annotations"][0]["bbox"]
    middle = (x + width / 2, y + height / 2)
    assert middle == pytest.approx((60 - 15, 20), abs=1.5)
    for button in ("Masks", "Boxes", "Labels"):
        page.get_by_role("button", name=button).click()
    pixels_there = page.evaluate(
        """([x, y]) => {
            const canvas = document.getElementById("canvas");
            const scale = parseFloat(fit.textContent) / 100;
            const column = Math.round(canvas.width / 2 + (x - 30) * scale);
            const row = Math.round(canvas.height / 2 + (y - 50) * scale);
            return [...canvas.getContext("2d").getImageData(column, row, 1, 1).data];
        }""",
        middle,
    )
    assert pixels_there[0] > 200
    assert max(pixels_there[1:3]) < 60


def test_an_image_that_only_the_server_can_read_is_shown(
    page: Page, encode: Callable[..., bytes]
) -> None:
    green = np.full((90, 120, 3), (0, 200, 0), np.uint8)
    give(page, encode(green, "TIFF"), "a.tif", "image/tiff")
    expect(page.locator("#count")).to_have_text("4 of 6")
    for button in ("Masks", "Boxes", "Labels"):
        page.get_by_role("button", name=button).click()
    assert middle(page)[:3] == [0, 200, 0]


def test_a_broken_file_is_told_with_the_id_of_the_request(page: Page, picture: bytes) -> None:
    give(page, picture[:100])
    expect(page.locator("#error")).to_contain_text("The server says: the image cannot be decoded")
    expect(page.locator("#error")).to_contain_text(re.compile(r"\(request [0-9a-f]{32}\)"))
    give(page, picture)
    expect(page.locator("#count")).to_have_text("4 of 6")
    expect(page.locator("#error")).to_be_hidden()


def test_a_file_above_the_limit_is_not_sent(site: Site, page: Page) -> None:
    before = site.asked.count("/invocations")
    give(page, bytes(2**20 + 1), HOSTILE.replace("/", ""))
    expect(page.locator("#error")).to_contain_text("more than the 1 MiB")
    assert site.asked.count("/invocations") == before


def test_names_are_text(page: Page, picture: bytes) -> None:
    give(page, picture, f"{HOSTILE};\u00e9\u4e2d'\".png")
    expect(page.locator("#count")).to_have_text("4 of 6")
    expect(page.locator("#list li").nth(3).locator(".name")).to_have_text(HOSTILE)
    expect(page.locator("#snippet")).to_contain_text("<img src=x")
    with page.expect_download():
        page.locator("#download").click()
    assert page.evaluate("window.harmed") is None
    assert page.locator("main img[src=x]").count() == 0


def test_markup_cannot_be_made_from_text(page: Page, complaints: list[str]) -> None:
    """Not even by mistake: the policy forbids it."""
    with pytest.raises(Error, match="TrustedHTML"):
        page.evaluate("() => { document.getElementById('status').innerHTML = '<b>x</b>'; }")
    complaints.clear()


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_kept(site: Site, found: Page) -> None:
    """What the sources say, what the browser loaded, and what it has afterwards."""
    loaded = found.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    assert len(loaded) >= 10
    assert all(address.startswith(site.url) for address in loaded)
    assert found.context.cookies() == []
    assert found.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    files = (Path(__file__).parents[1] / "maskrcnn_playground/static").glob("*.*")
    addresses = {a for path in files for a in re.findall(r"https?://[^\"'\s]+", path.read_text())}
    assert addresses == {"http://www.w3.org/2000/svg"}


def test_other_hosts_cannot_be_asked(page: Page, complaints: list[str]) -> None:
    said = page.evaluate("fetch('http://127.0.0.1:1/').catch((error) => error.name)")
    assert said == "TypeError"
    assert any("Content Security Policy" in complaint for complaint in complaints)
    complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_the_button(
    site: Site, visit: Callable[..., Page], scheme: str
) -> None:
    page = visit(site, color_scheme=scheme)
    assert is_bright(page) == (scheme == "light")
    button = page.locator("#theme")
    expect(button).to_have_attribute("aria-pressed", str(scheme == "dark").lower())
    button.click()
    assert is_bright(page) == (scheme == "dark")


def is_bright(page: Page) -> bool:
    """Whether the paper is bright and the ink is dark; if not, it is the other way round."""
    read = "() => { const s = getComputedStyle(document.documentElement);"
    paper, ink = page.evaluate(read + "return [s.backgroundColor, s.color]; }")
    bright = [sum(map(int, re.findall(r"\d+", colour)[:3])) > 384 for colour in (paper, ink)]
    assert bright[0] != bright[1]
    return bright[0]


@pytest.mark.parametrize("width", [320, 390, 800])
def test_a_phone_shows_it_without_scrolling_sideways(
    site: Site, visit: Callable[..., Page], width: int
) -> None:
    page = visit(site, viewport={"width": width, "height": 780}, is_mobile=True, has_touch=True)
    overflow = "document.documentElement.scrollWidth - innerWidth"
    page.locator("#welcome .samples button").wait_for()
    assert page.evaluate(overflow) <= 0
    page.locator("#welcome .samples button").tap()
    expect(page.locator("#count")).to_have_text("4 of 6")
    assert page.evaluate(overflow) <= 0
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    page.locator("#list li").nth(1).tap()
    expect(page.locator("#detail dl")).to_contain_text("0.8000")


def test_two_fingers_zoom(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site, is_mobile=True, has_touch=True)
    choose_sample(page)
    whole = zoom(page)
    fingers = page.context.new_cdp_session(page)
    for kind, apart in (("Start", 40), ("Move", 60), ("Move", 100), ("Move", 160), ("End", 0)):
        points = [{"x": 300 + side * apart, "y": 300, "id": side} for side in (-1, 1) if apart]
        fingers.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    assert zoom(page) > 2 * whole


def test_where_the_time_went_is_shown(found: Page) -> None:
    names = found.locator("#stages dt").all_text_contents()
    lines = dict(zip(names, found.locator("#stages dd").all_text_contents(), strict=True))
    assert {"sending and receiving", "decoding the picture", "writing the answer"} <= set(lines)
    parts = sum(float(text.removesuffix(" ms")) for text in lines.values())
    told = float((found.locator("#elapsed").text_content() or "").removesuffix(" ms"))
    assert parts == pytest.approx(told, abs=1.5)
    assert found.locator("#request").text_content()


def test_every_format_can_be_had(found: Page) -> None:
    formats = Plugins().formats()
    options = found.locator("#format option").evaluate_all("(all) => all.map((o) => o.value)")
    assert options == list(formats)
    for name, form in formats.items():
        found.locator("#format").select_option(name)
        with found.expect_response("**/invocations") as answered:
            found.locator("#download").click()
        assert answered.value.status == 200, name
        assert answered.value.headers["content-type"].startswith(form.media_type)
    expect(found.locator("#error")).to_be_hidden()


def test_a_download_has_the_thresholds_and_classes_that_are_set(
    found: Page, tmp_path: Path
) -> None:
    slide(found, "#score", 0.4)
    found.get_by_role("checkbox", name="dog").uncheck()
    found.locator("#format").select_option("coco")
    with found.expect_download() as started:
        found.locator("#download").click()
    assert started.value.suggested_filename == "sample.coco.json"
    started.value.save_as(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved").read_bytes())
    assert [one["category_id"] for one in saved] == [1, 1, 3]


@pytest.mark.parametrize("name", ["a.png", 'it\'s "a" $(picture).png'], ids=["plain", "quoted"])
@pytest.mark.parametrize("tab", ["curl", "boto3"])
def test_the_request_in_other_words_gives_the_same_answer(
    page: Page, picture: bytes, tmp_path: Path, tab: str, name: str
) -> None:
    give(page, picture, name)
    expect(page.locator("#count")).to_have_text("4 of 6")
    slide(page, "#score", 0.7)
    page.locator("#format").select_option("coco")
    page.locator(f"#tab-{tab}").click()
    snippet = page.locator("#snippet").text_content() or ""
    (tmp_path / name).write_bytes(picture)
    program = {"curl": ["bash", "-c"], "boto3": [sys.executable, "-c"]}[tab]
    done = subprocess.run([*program, snippet], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (out,) = (path for path in tmp_path.iterdir() if path.name != name)
    assert [round(one["score"], 2) for one in json.loads(out.read_bytes())] == [0.95, 0.8]


def test_another_image_gives_up_the_one_before(
    serve: Serve, visit: Callable[..., Page], picture: bytes
) -> None:
    started, go_on = threading.Event(), threading.Event()

    class Busy(Blobs):
        def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
            started.set()
            go_on.wait(20)
            return super().predict(images, options)

    page = visit(serve(Busy()))
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.failure or ""))
    expect(page.locator("#model")).to_have_text("blobs, fake")
    give(page, picture, "first.png")
    assert started.wait(20)
    expect(page.locator("#status")).to_have_text("Looking ...")
    give(page, picture, "second.png")
    page.wait_for_timeout(100)
    go_on.set()
    expect(page.locator("#count")).to_have_text("4 of 6")
    expect(page.locator("#snippet")).to_contain_text("@second.png")
    assert failed == ["net::ERR_ABORTED"]


def test_the_page_waits_for_the_model(serve: Serve, visit: Callable[..., Page]) -> None:
    place = serve(None)
    page = visit(place)
    expect(page.locator("#status")).to_have_text("The model is loading.")
    page.locator("#welcome .samples button").click()
    place.service.models.put(Scheduler(Blobs(), max_waiting=4))
    expect(page.locator("#count")).to_have_text("4 of 6")
    expect(page.locator("#status")).to_be_hidden()


def test_of_several_models_one_is_chosen(
    serve: Serve, visit: Callable[..., Page], tmp_path: Path
) -> None:
    def load(folder: Path) -> Scheduler:
        return Scheduler(Blobs() if folder.name == "b lobs" else FakeModel(0.5), max_waiting=4)

    models = Models(load, tmp_path, 2**33, evicts=False)
    for name in ("b lobs", "colours"):
        (tmp_path / name).mkdir()
        models.load(name, str(tmp_path / name))
    place = serve(models=models)
    page = visit(place)
    page.locator("#models select").select_option("b lobs")
    choose_sample(page)
    expect(page.locator("#count")).to_have_text("4 of 6")
    expect(page.locator("#snippet")).to_contain_text("models/b%20lobs/invoke")
    page.locator("#models select").select_option("colours")
    expect(page.locator("#count")).to_have_text("1 of 1")
    assert place.asked.count("/models/colours/invoke") == 1


def test_the_page_asks_for_the_key_once(serve: Serve, visit: Callable[..., Page]) -> None:
    place = serve(Blobs(), api_key="correct-horse")
    page = visit(place)
    dialog, field = page.locator("#key"), page.locator("#key input")
    for key in ("wrong", "correct-horse"):
        expect(dialog).to_be_visible()
        field.fill(key)
        field.press("Enter")
        expect(field).to_have_value("")
    expect(dialog).to_be_hidden()
    choose_sample(page)
    expect(page.locator("#count")).to_have_text("4 of 6")
    page.reload()
    choose_sample(page)
    expect(dialog).to_be_hidden()


def test_without_the_key_the_page_says_so(serve: Serve, visit: Callable[..., Page]) -> None:
    page = visit(serve(Blobs(), api_key="correct-horse"))
    page.locator("#key").wait_for()
    page.keyboard.press("Escape")
    expect(page.locator("#error")).to_contain_text("API key")
