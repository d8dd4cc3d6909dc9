"""What axe-core finds wrong with the page, which should be nothing."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import pytest
from playground_site import Site, choose_sample
from playwright.sync_api import FilePayload, Page

pytestmark = pytest.mark.full

SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
REPORT = """async () => {
    const { violations } = await axe.run();
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(" ")}`);
}"""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(site: Site, visit: Callable[..., Page], size: str, scheme: str) -> None:
    """When the page is empty, with an instance selected, with everything open, and in dialogs."""
    pytest.importorskip("axe_playwright_python")
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    width, height = SIZES[size]
    page = visit(
        site, color_scheme=scheme, viewport={"width": width, "height": height}, bypass_csp=True
    )
    page.locator("#welcome .samples button").wait_for()
    page.evaluate(axe)
    assert page.evaluate(REPORT) == []
    choose_sample(page)
    page.locator("#file").set_input_files(
        [FilePayload(name=f"{n}.png", mimeType="image/png", buffer=b"no image") for n in "ab"]
    )
    page.locator("#strip [data-state=failed]").nth(1).wait_for()
    page.locator("#strip button").first.click()
    page.locator("#list li").first.click()
    page.keyboard.press("w")
    page.locator("#times summary").click()
    assert page.evaluate(REPORT) == []
    page.locator("#look summary").click()
    page.keyboard.press("?")
    page.locator("#keys").wait_for()
    assert page.evaluate(REPORT) == []
