"""The pages of docs/ as a site: complete, and usable in a browser once `make docs` has built it."""

import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, launched, needs_browser

import proxmtl
from proxmtl.limits import LIMITS, variable

ROOT = Path(__file__).parents[1]
DOCS, SITE = ROOT / "docs", ROOT / "build" / "docs"
built = pytest.mark.skipif(
    not (SITE / "index.html").exists(), reason="build/docs is not there: make docs"
)


def test_the_reference_lists_every_public_name():
    listed = set(re.findall(r"^   (\w+)$", (DOCS / "reference/api.md").read_text(), re.MULTILINE))
    assert {*proxmtl.__all__} - listed == {"BASELINES", "__version__"}


def test_the_reference_has_every_limit_and_its_default():
    text = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(PROXMTL_MAX_\w+)` \| ([\d,]+) \|", text, re.MULTILINE))
    assert rows == {variable(name): f"{default:,}" for name, (default, _) in LIMITS.items()}


def test_every_page_is_reached_from_the_index():
    trees = re.findall(r"```{toctree}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    named = {line for tree in trees for line in tree.split("\n") if line and line[0] != ":"}
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")}
    generated = {"auto_gallery/index", "reference/commands"}
    assert pages - {"index"} - generated == named - generated
    assert generated <= named


class Quiet(SimpleHTTPRequestHandler):
    """Serves the site."""

    def __init__(self, *given):
        super().__init__(*given, directory=SITE)

    def log_message(self, *given):
        """Say nothing."""


@pytest.fixture(scope="module")
def browser():
    with launched() as found, ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.site = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()


def opened(browser, name, size, scheme="light"):
    page = browser.new_page(viewport=size, color_scheme=scheme)
    heard = []
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("response", lambda found: found.status < 400 or heard.append(found.url))
    page.goto(f"{browser.site}/{name}")
    return page, heard


@built
@needs_browser
def test_the_search_finds_a_page(browser):
    page, heard = opened(browser, "search.html?q=overlapping", DESKTOP)
    page.wait_for_selector("ul.search li a", timeout=60_000)
    found = {
        each.get_attribute("href").split("?")[0] for each in page.query_selector_all(".search a")
    }
    assert "how_to/overlapping_groups.html" in {link.split("#")[0] for link in found}
    assert not [each for each in heard if not each.endswith("favicon.ico")]


@built
@needs_browser
@pytest.mark.parametrize(
    "name", ["index.html", "explanation/which_estimator.html", "explanation/mathematics.html"]
)
def test_pages_fit_a_phone_and_have_two_themes(browser, name, tmp_path):
    colors = {}
    for scheme in ("light", "dark"):
        page, _ = opened(browser, name, PHONE, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        colors[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.screenshot(path=tmp_path / f"{scheme}.png")
    assert colors["light"] != colors["dark"]


@built
@needs_browser
def test_the_gallery_shows_its_figures(browser):
    page, _ = opened(browser, "auto_gallery/index.html", DESKTOP)
    images = page.query_selector_all(".sphx-glr-thumbcontainer img")
    assert len(images) == len(list((DOCS / "gallery").glob("plot_*.py")))
    assert all(image.evaluate("each => each.naturalWidth") > 0 for image in images)


@built
def test_no_markup_is_left_on_the_front_page():
    assert ":::" not in (SITE / "index.html").read_text(encoding="utf-8")
