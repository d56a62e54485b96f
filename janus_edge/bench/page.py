"""A report as one page that needs nothing else: no scripts, fonts or pictures from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from janus_edge.bench import labels
from janus_edge.bench.bars import limits, ranges, step_bar
from janus_edge.bench.curves import Dot, curve
from janus_edge.bench.labels import label
from janus_edge.bench.markup import Markup, element, joined
from janus_edge.bench.report import ModeReport, Report, Sweep
from janus_edge.bench.tables import Table, main_table, report_tables
from janus_edge.bench.timeline import TOTAL
from janus_edge.bench.units import seconds, size

_MODES = {"image": "Painting", "text": "Answering"}


def page(report: Report) -> str:
    """The whole HTML document."""
    style = (resources.files("janus_edge.bench") / "page.css").read_text("utf-8")
    title = f"janus-edge bench: {report.subject.name}"
    body = element(
        "main",
        *_heading(report),
        *(section for mode, found in report.modes.items() for section in _mode(mode, found)),
        *_sweeps(report),
        *_about(report),
        *_all_figures(report),
    )
    head = element(
        "head",
        # elements without an end are written out
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", title),
        element("style", Markup(style)),
    )
    return f"<!doctype html>\n{element('html', head, element('body', body), lang='en')}\n"


def _heading(report: Report) -> Iterator[Markup]:
    subject, machine = report.subject, report.machine
    made = f"engine for {subject.target}" if subject.target else "bundle"
    yield element("h1", subject.name)
    yield element(
        "p",
        f"{made}, {subject.precision}, {size(subject.bytes)} · {machine.processor}, {machine.cores} "
        f"cores · {report.date}",
        class_="pale",
    )
    yield _tiles(report)


def _tiles(report: Report) -> Markup:
    """The main figures, mode by mode; of a figure with its share, the share stands below."""
    parts = []
    for column, mode in enumerate(report.modes, 1):
        code, codes = ("code", "codes") if mode == "image" else ("token", "tokens")
        tiles = []
        for row in main_table(report).rows:
            if row[column]:
                figure, _, rest = row[column].partition(", ")
                name = row[0].replace("codes or tokens", codes).replace("code or token", code)
                below = element("span", f"{name}: {rest}" if rest else name, class_="pale small")
                tiles.append(element("div", element("b", figure), below, class_="tile"))
        parts += [element("h3", _MODES[mode]), element("div", *tiles, class_="tiles")]
    return joined(*parts)


def _mode(mode: str, found: ModeReport) -> Iterator[Markup]:
    yield element("h2", _MODES[mode])
    yield element("p", labels.work(mode, found), class_="pale")
    noun = "a code of each picture" if mode == "image" else "a token"
    if found.parallel:
        noun = f"{labels.passes(found)} of each picture in the mean"
    rows = "1 row" if found.rows == 1 else f"{found.rows} rows"
    yield _card(
        f"One {'pass' if found.parallel else 'step'}: {seconds(found.step[TOTAL].median)}",
        f"Medians of a step of {rows} of the language model, which yields {noun}. Red is the loop "
        "itself.",
        step_bar(found.step),
    )
    yield _card(
        "Stages and percentiles",
        "Logarithmic: thin from the minimum to the 99th percentile, thick from the median to the "
        "90th, the dot is the median.",
        ranges((("a request", found.stages), ("a step", dict(labels.ordered(found.step)))), mode),
    )
    note = found.roofline.note
    points = tuple(Dot(p.position, p.step, p.step) for p in found.curve)
    yield element(
        "div",
        _card(
            "The limit of memory",
            f"The time of reading what a step needs at position {found.roofline.position}, as a "
            f"share of the time it took.{f' Here {note}.' if note else ''}",
            limits(found.roofline.notable()),
        ),
        _card(
            "A step along the cache",
            "Medians of neighbouring positions.",
            curve(points, "positions filled", f"{mode}: a step along the cache", marks=False, proportional=False),
        ),
        class_="two",
    )  # fmt: skip


def _sweeps(report: Report) -> Iterator[Markup]:
    if not report.sweeps:
        return
    yield element("h2", "How cost grows")
    text = "Dots are medians, whiskers end at the 90th percentile; dashed is growth in proportion."
    yield element("p", text, class_="pale")
    yield element("div", *(card for s in report.sweeps for card in _sweep(s)), class_="two")


def _sweep(found: Sweep) -> Iterator[Markup]:
    """The step; where the prompt grows, its prefill too."""
    verb = {"image": "painting", "text": "answering"}[found.mode]
    parts = ("prefill", "step") if found.name == "prompt_length" else ("step",)
    points = sorted(found.points, key=lambda p: float(labels.point(found.name, p)))
    for part in parts:
        dots = [
            Dot(float(labels.point(found.name, p)), d.median, d.p90)
            for p in points
            for d in (p.prefill if part == "prefill" else p.step,)
        ]
        what = f"{verb}: {part} by {label(found.name)}"
        plot = curve(dots, label(found.name), what, marks=True, proportional=True)
        yield _card(what.capitalize(), "", plot)


def _about(report: Report) -> Iterator[Markup]:
    machine, subject, options = report.machine, report.subject, report.options
    threads = "one per core" if options.threads == 0 else str(options.threads)
    about = {
        "processor": f"{machine.processor} ({machine.architecture}; {', '.join(machine.instructions)})",
        "cores": f"{machine.cores} ({machine.processors} processors); threads: {threads}",
        "memory": f"{size(machine.memory_bytes)}, last cache {size(machine.cache_bytes)}",
        "limit of memory": labels.bandwidth(report),
        "system": machine.system,
        "versions": ", ".join(f"{name} {version}" for name, version in report.versions.items()),
        "digest": subject.digest,
        "requests": f"{options.repetitions} measured, {options.warm_up} before them not",
        "energy": "; ".join(dict.fromkeys(labels.energy(found) for found in report.modes.values())),
    }
    if states := [s for s in map(labels.device, report.modes.values()) if s]:
        about["device"] = "; ".join(dict.fromkeys(states))
    yield element("h2", "Machine and method")
    items = (joined(element("dt", key), element("dd", text)) for key, text in about.items())
    text = (
        "Every figure is from the runtime's own loops, with a clock around each call. The limit "
        "counts weights as they are stored and the filled part of the KV cache; activations stay in "
        "the processor's caches."
    )
    yield _card("", text, element("dl", *items))


def _all_figures(report: Report) -> Iterator[Markup]:
    tables = (element("div", _table(t), class_="scroll") for t in report_tables(report) if t.title)
    yield element("details", element("summary", "All figures"), *tables)


def _table(table: Table) -> Markup:
    def cell(name: str, column: str, text: str) -> Markup:
        right = {"class": "right"} if column.endswith(">") else {}
        return element(name, text.strip() if name == "th" else text, **right)

    head = (cell("th", column, column.rstrip(">")) for column in table.columns)
    rows = (
        element("tr", *(cell("td", c, text) for c, text in zip(table.columns, row, strict=True)))
        for row in table.rows
    )
    return element(
        "table",
        element("caption", table.title),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
    )


def _card(title: str, text: str, *parts: Markup) -> Markup:
    heading = [element("h3", title)] if title else []
    lines = [element("p", text, class_="pale small")] if text else []
    return element("div", *heading, *lines, *parts, class_="card")
