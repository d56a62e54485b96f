"""The page of a report: well formed, on its own, and without overflow in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from janus_edge.bench.curves import Dot, curve
from janus_edge.bench.markup import Markup, element, joined
from janus_edge.bench.page import page
from janus_edge.bench.tables import report_tables
from tests.unit.bench.reports import PASSES, mode, report, sweep

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Reader(HTMLParser):
    """Collects text and fails on an end that fits no beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), "an attribute stands twice"
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


FULL = report(
    modes={"image": mode(), "text": mode(images_per_second=None, joules_per_token=None)},
    sweeps=(sweep(), sweep("prompt_length"), sweep("capacity", (7,)), sweep("parallel", (1, 8))),
)


def test_well_formed() -> None:
    """Every element ends, and a bundle's name is text whatever it is."""
    found = read(page(FULL))
    assert "a <b> & c" in found.text
    assert ("html", "lang", "en") in found.attributes
    assert not [a for a in found.attributes if a[1].startswith("on")]


def test_nothing_from_elsewhere() -> None:
    """No script, link, font or picture: nothing is asked of the network."""
    text, found = page(FULL), read(page(FULL))
    assert not {tag for tag, _, _ in found.attributes} & {"script", "link", "img", "iframe"}
    assert not [a for a in found.attributes if a[1] in ("src", "href")]
    assert not re.search(r"https?:|url\(|@import|@font-face", text)


def test_light_and_dark() -> None:
    """Both schemes define the same colours, and plots use no others."""
    text = page(FULL)
    blocks = re.findall(r":root \{(.*?)\}", text, re.S)
    names = [set(re.findall(r"(--\w+):", block)) for block in blocks]
    assert len(names) == 2
    assert names[0] == names[1]
    assert set(re.findall(r"var\((--\w+)\)", text)) <= names[0]
    assert "@media (prefers-color-scheme: dark)" in text
    assert not re.search(r'fill="#|stroke="#', text)


def test_every_figure_is_there() -> None:
    """All rows of all tables, and what machine, bundle and probe were."""
    text = "".join(read(page(FULL)).text)
    for table in report_tables(FULL):
        for row in table.rows:
            # the tiles have names of their own
            for cell in row if table.title else row[1:]:
                assert all(part in text for part in cell.split(", ")), (table.title, cell)
    for word in (
        "Processor 9000",
        "0" * 64,
        "20.0 GB/s",
        "1.31.1",
        "a step fits the cache",
        "RAPL",
    ):
        assert word in text


def test_several_codes_a_pass() -> None:
    """A step is called a pass, and what it gains is told."""
    found = page(report(modes={"image": mode(parallel=PASSES)}))
    assert "One pass: " in found
    assert "One step: " not in found
    assert "3.12 of 8 to 16 codes of each picture in the mean" in found
    assert "passes over 8" in found
    assert "One step: " in page(report())
    read(found)


def test_without_sweeps() -> None:
    assert "How cost grows" in page(FULL)
    found = page(replace(FULL, sweeps=()))
    assert "How cost grows" not in found
    read(found)


def test_widths_of_the_step() -> None:
    """The segments of a step fill the bar in proportion to their medians."""
    bar = page(report()).split('class="stack"')[1].split("</svg>")[0]
    widths = [float(w) for w in re.findall(r'width="([\d.]+)%"', bar)]
    assert widths == pytest.approx([70, 10, 8, 2, 10], abs=0.01)
    assert bar.count("var(--host)") == 1


def test_a_curve_starts_at_zero() -> None:
    """Heights are in proportion to durations, and the dashed line is what grows with the value."""
    text = curve(
        [Dot(1, 1e-3, 1e-3), Dot(2, 2e-3, 9.0), Dot(4, 2e-3, 2e-3)], "x", "a curve",
        marks=True, proportional=True,
    )  # fmt: skip
    (points,) = re.findall(r'points="([^"]+)"', text)
    (x1, y1), (x2, y2), (x4, y4) = (tuple(map(float, p.split(","))) for p in points.split())
    bottom = max(float(y) for y in re.findall(r' y1="([\d.]+)"', text))
    assert (bottom - y2) / (bottom - y1) == pytest.approx(2, abs=0.02)
    assert y2 == y4
    assert x4 - x2 == pytest.approx(2 * (x2 - x1), abs=0.2)
    dashed = re.search(r'<line[^>]*class="proportional"', text)
    assert dashed
    end_x, end_y = (float(re.search(rf' {n}="([\d.]+)"', dashed[0])[1]) for n in ("x2", "y2"))  # type: ignore[index]
    assert (bottom - end_y) / (bottom - y1) == pytest.approx((end_x - x1) / (x2 - x1) + 1, abs=0.05)
    read(text)


def test_markup() -> None:
    """Text is escaped once, markup is left alone, and names of attributes are HTML's."""
    inner = element("b", "1 < 2")
    found = element("p", inner, "& so", class_="a", aria_label='"x"', x=0.5)
    assert found == ('<p class="a" aria-label="&quot;x&quot;" x="0.5"><b>1 &lt; 2</b>&amp; so</p>')
    assert isinstance(joined(found, "<"), Markup)


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(_BROWSERS)} is installed")
    return found


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "profile"
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)


@pytest.mark.parametrize("width", [390, 1100])
def test_in_a_browser(browser: str, tmp_path: Path, profile: Path, width: int) -> None:
    """On a phone and on a desk nothing but the tables, which scroll, is wider than the window, no
    text of a tile is cut off, and plots have a size."""
    look = """<script>
    const wide = [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg'))
      .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth);
    const flat = [...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width < 50);
    parent.postMessage(`wide ${wide.length} flat ${flat.length} at ${innerWidth}`, '*');
    </script></body>"""
    (tmp_path / "page.html").write_text(page(FULL).replace("</body>", look), "utf-8")
    # windows are never as narrow as a phone's, frames may be
    path = tmp_path / "frame.html"
    path.write_text(
        "<!doctype html><title></title><script>onmessage = e => document.title = e.data</script>"
        f'<iframe src="page.html" width="{width}" height="2000" style="border: 0"></iframe>'
    )
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}", "--window-size=1200,2000", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title
    assert title[1] == f"wide 0 flat 0 at {width}"
