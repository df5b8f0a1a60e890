"""The page in a real browser: clicks, both themes, a phone. Skips where there is no browser."""

import numpy as np
import pandas as pd
import pytest
from browser import DESKTOP, PHONE, launched, needs_browser
from report_cases import EVIL, Album, run_of, with_alone

from proxmtl.report.page import report_page
from proxmtl.report.runs import Latents


@pytest.fixture
def browser():
    with launched() as found:
        yield found


@pytest.fixture
def page_file(tmp_path):
    """Two runs with all that a page can show, of names that are no harmless ones."""
    S = np.array([[1.0, -2, 0, 3], [0, 1, 0, 0]])
    search = pd.DataFrame(
        {
            "shared_strength": [np.inf, np.inf, 0.1, 0.01],
            "own_strength": [1.0, 0.1, 1.0, 1.0],
            "mean": [0.7, 0.8, 0.9, 0.85],
            "standard_error": [0.01] * 4,
        }
    )
    first = run_of(
        EVIL[1],
        EVIL,
        latents=Latents(S, np.array([1.0, 2.0])),
        groups={EVIL[0]: [0, 1], "others": [2, 3]},
        search=search,
        pictures=Album(),
    )
    path = tmp_path / "report.html"
    runs = [with_alone(first), run_of("second", EVIL, noise=2.0)]
    path.write_text(report_page(runs), encoding="utf-8")
    return path


def opened(browser, path, size, scheme):
    """A page, drawn, and what it said or asked for on the way."""
    page = browser.new_page(viewport=size, color_scheme=scheme)
    heard = []
    page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("dialog", lambda dialog: heard.append(f"dialog: {dialog.message}") or dialog.dismiss())
    page.on("request", lambda request: heard.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", timeout=60_000)
    return page, heard


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


@needs_browser
def test_the_page_in_a_browser(browser, page_file, tmp_path):
    page, heard = opened(browser, page_file, DESKTOP, "light")
    # every chart is drawn, with marks
    for place in page.query_selector_all("[data-chart]"):
        assert place.query_selector("svg .mark-symbol path, svg .mark-rect path"), (
            place.get_attribute("data-chart")
        )
    table = page.locator("table", has=page.locator("caption", has_text="Scores by attribute"))
    head = table.locator("tr.heads th").nth(2)
    column = table.locator("tbody tr td:nth-child(3)")

    def values():
        found = [cell.get_attribute("data-value") for cell in column.all()]
        return [float(value) for value in found if value is not None]

    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    assert len(set(values())) > 1
    # a name is text in the chart and in what is shown under the pointer
    page.locator("[data-chart] svg .mark-symbol path").first.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    images = page.locator("img")
    assert images.count() > 10
    assert images.first.evaluate("image => image.naturalWidth") == 8
    assert page.locator("details.examples[open]").count() == 1
    closed = page.locator("details.examples summary").nth(1)
    closed.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.examples[open]").count() == 2
    page.screenshot(path=tmp_path / "desktop-light.png", full_page=True)

    light = background(page)
    page.locator("#theme").click()
    page.wait_for_selector("html[data-drawn=dark]")
    assert background(page) != light
    page.screenshot(path=tmp_path / "desktop-dark.png", full_page=True)
    page.locator("#theme").click()
    page.wait_for_selector("html[data-drawn=light]")
    assert background(page) == light
    assert heard == [page_file.as_uri()]
    page.close()

    for scheme in ("light", "dark"):
        page, heard = opened(browser, page_file, PHONE, scheme)
        assert page.get_attribute("html", "data-drawn") == scheme
        assert (background(page) == light) == (scheme == "light")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.screenshot(path=tmp_path / f"phone-{scheme}.png", full_page=True)
        assert heard == [page_file.as_uri()]
        page.close()
    assert len(list(tmp_path.glob("*.png"))) == 4
