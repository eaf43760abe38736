"""The pages of a run in headless Chromium: nothing is cut, nothing is fetched, a digit is read.

`make browser` runs this file. It leaves a picture of each page in each size and colour scheme.
"""

import math
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chromium import Chromium, find_chromium

from lstm_jax.cli.main import main

PAGES = ("sweep", "one_member", "compare", "runs", "draw_digit")
TINY = ("--hidden-size", "32", "--total-examples", "24000", "--batch-size", "64")
SCHEMES = ("light", "dark")
WIDTHS = (390, 1400)  # a phone and a screen

# What lies beyond the left or right edge of the window, also in a table that could be scrolled.
CUT = """[...document.body.querySelectorAll("*")].filter(e => {
  const box = e.getBoundingClientRect(), right = document.documentElement.clientWidth;
  return box.width && (box.left < -1 || box.right > right + 1);
}).map(e => `${e.tagName} ${e.id} ${e.textContent.trim().slice(0, 60)}`)"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Text beyond the edges of its figure: its box is some pixels taller than its ink.
CUT_IN_FIGURES = """[...document.querySelectorAll("svg text")].filter(e => {
  const box = e.getBoundingClientRect(), svg = e.ownerSVGElement.getBoundingClientRect();
  return box.left < svg.left - 1 || box.right > svg.right + 1 || box.top < svg.top - 6 ||
    box.bottom > svg.bottom + 6;
}).map(e => e.textContent)"""
# The brightness of the paper and of the ink, 0 to 1.
BRIGHTNESS = """["backgroundColor", "color"].map(name => {
  const numbers = getComputedStyle(document.body)[name].match(/\\d+/g).slice(0, 3).map(Number);
  return numbers.reduce((a, b) => a + b) / (3 * 255);
})"""
MISSING_ANCHORS = """[...document.querySelectorAll('a[href^="#"]')].map(a => a.hash.slice(1))
  .filter(name => !document.getElementById(name))"""


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if (program := find_chromium()) is None:
        pytest.skip("needs Chromium: `apt install chromium`, or its path in CHROMIUM")
    browser = Chromium(program, tmp_path_factory.mktemp("profile"))
    try:
        browser.begin()
    except (EOFError, BrokenPipeError, TimeoutError) as error:  # as where it is installed in part
        browser.end()
        pytest.skip(f"{program} does not start here: {error}")
    yield browser
    browser.end()


@pytest.fixture(scope="module")
def pages(browser, figure_files, tmp_path_factory):
    """Returns the addresses of the pages of a tiny sweep and of a tiny run, by name."""
    runs = tmp_path_factory.mktemp("pages") / "runs"
    folder = ("--runs-dir", str(runs))
    main(["run", "digits", *folder, *TINY, "--learning-rate", "0.01", "0.003", "--seed", "0", "1"])
    main(["run", "digits", *folder, *TINY, "--cell", "gru", "--note", "another cell"])
    first, second = sorted((runs / "digits").iterdir(), key=lambda path: path.stat().st_ctime)
    main(["compare", str(first), str(second), *folder])
    (compared,) = (runs / "compare").glob("*.html")
    reports = [run / "report" / "index.html" for run in (first, second)]
    others = (compared, runs / "index.html", first / "report" / "draw_digit.html")
    return {name: path.as_uri() for name, path in zip(PAGES, (*reports, *others), strict=True)}


@pytest.fixture(scope="session")
def pictures(request):
    folder = request.config.cache.mkdir("browser")
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    terminal.write_line(f"\npictures of the pages: {folder}")
    return folder


@pytest.fixture(autouse=True)
def _page_is_quiet(browser):
    """Checks after each test that its page had no error and read files of this machine alone."""
    yield
    requests = [event["request"]["url"] for event in browser.named("Network.requestWillBeSent")]
    assert requests
    assert [url for url in requests if urlsplit(url).scheme not in ("file", "data", "blob")] == []
    assert browser.named("Runtime.exceptionThrown") == []
    errors = [event["entry"]["text"] for event in browser.named("Log.entryAdded")]
    assert errors == []


def draw_a_zero(browser):
    """Draws a zero on the page with the mouse."""
    browser.evaluate("document.getElementById('clear').click()")
    box = "(({left, top, width, height}) => [left, top, width, height])"
    pad = "document.getElementById('pad').getBoundingClientRect()"
    left, top, width, height = browser.evaluate(f"{box}({pad})")
    angles = [2 * math.pi * index / 24 for index in range(25)]
    browser.drag(
        [
            (left + width * (0.5 + 0.22 * math.sin(a)), top + height * (0.5 - 0.36 * math.cos(a)))
            for a in angles
        ]
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut(browser, pages, pictures, name, scheme, width):
    browser.resize(width)
    browser.prefer(scheme)
    browser.open(pages[name])
    if name == "draw_digit":
        draw_a_zero(browser)
    browser.picture(pictures / f"{name}_{width}_{scheme}.png")
    assert browser.evaluate(WIDER) <= 0
    assert browser.evaluate(CUT) == []
    assert browser.evaluate(CUT_IN_FIGURES) == []
    paper, ink = browser.evaluate(BRIGHTNESS)
    assert abs(paper - ink) > 0.7
    assert (paper > ink) == (scheme == "light")


@pytest.mark.parametrize("name", PAGES)
def test_each_link_leads_to_a_file(browser, pages, name):
    browser.open(pages[name])
    assert browser.evaluate(MISSING_ANCHORS) == []
    for url in browser.evaluate("[...document.links].map(a => a.href)"):
        assert Path(unquote(urlsplit(url).path)).is_file(), url


@pytest.mark.parametrize("width", WIDTHS)
def test_a_digit_that_is_drawn_with_the_mouse_is_read(browser, pages, width):
    browser.resize(width)
    browser.open(pages["draw_digit"])
    status = "document.getElementById('status').textContent"
    assert browser.evaluate(status) == "nothing yet"
    draw_a_zero(browser)
    assert browser.evaluate(status) == "8 of 8 rows read; answer: 0"
    shares = browser.evaluate("[...document.querySelectorAll('.bar span')].map(e => e.textContent)")
    assert sum(float(share.removesuffix("%")) for share in shares) == pytest.approx(100, abs=0.5)
    browser.evaluate("document.getElementById('clear').click()")
    assert browser.evaluate(status) == "nothing yet"
