"""A report and a comparison as tables: title, columns (``>`` aligns to the right), rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from janus_edge.bench.comparison import Comparison, Ratio
from janus_edge.bench.device_state import DeviceState
from janus_edge.bench.distribution import Distribution
from janus_edge.bench.energy import Energy
from janus_edge.bench.labels import joules, label, ordered, passes, point, work
from janus_edge.bench.report import ModeReport, Passes, Report, Sweep
from janus_edge.bench.roofline import Roofline
from janus_edge.bench.timeline import HOST, OUTSIDE, TOTAL
from janus_edge.bench.units import digits, seconds, share, size

_FIGURES = ("median>", "p90>", "p99>", "min>", "n>")


@dataclass(frozen=True, slots=True)
class Table:
    """One table of strings."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def report_tables(report: Report) -> Iterator[Table]:
    """Stages, steps and limits of each mode, then the sweeps, then the main figures."""
    for mode, found in report.modes.items():
        yield stage_table(mode, found)
        yield step_table(mode, found)
        if found.parallel:
            yield passes_table(mode, found.parallel)
        yield limit_table(mode, found.roofline)
        if found.energy.joules is not None:
            yield energy_table(mode, found.energy)
        if found.device and found.device.readings:
            yield device_table(mode, found.device)
    for sweep in report.sweeps:
        yield sweep_table(sweep)
    yield main_table(report)


def stage_table(mode: str, found: ModeReport) -> Table:
    """The stages of a request."""
    rows = [(label(name, mode), *_figures(d)) for name, d in found.stages.items()]
    return Table(f"{mode}: {work(mode, found)}", ("stage", *_FIGURES), tuple(rows))


def step_table(mode: str, found: ModeReport) -> Table:
    """The parts of a step, the host's by the call that they precede, and their sum."""
    total = found.step[TOTAL].median
    rows = []
    for name, d in ordered(found.step):
        rows.append((label(name), share(d.median / total if total else 0), *_figures(d)))
        if name == HOST:
            for call, gap in found.host.items():
                part = share(gap.median / total if total else 0)
                rows.append(
                    (f"  before the {label(call).removesuffix(' (host)')}", part, *_figures(gap))
                )
    rows_said = "1 row" if found.rows == 1 else f"{found.rows} rows"
    step = "pass" if found.parallel else "step"
    title = f"{mode}: a {step}, {rows_said}, cache of {found.capacity} positions"
    return Table(title, ("part", "share>", *_FIGURES), tuple(rows))


def limit_table(mode: str, found: Roofline) -> Table:
    """What parts read, the time of that at the bandwidth, and the share of it that was reached."""
    rows = [
        (
            label(name),
            size(sum(limit.traffic.weights.values())),
            size(limit.traffic.cache),
            seconds(limit.seconds),
            share(limit.share),
        )
        for name, limit in found.notable().items()
    ]
    title = f"{mode}: the limit of memory, at position {found.position}"
    return Table(title, ("part", "weights>", "cache>", "limit>", "reached>"), tuple(rows))


def passes_table(mode: str, found: Passes) -> Table:
    """What each request took; and all passes by the codes that they looked at."""
    rows = [
        (f"request {number}", str(codes), str(passes), digits((codes - 1) / passes))
        for number, (codes, passes) in enumerate(zip(found.codes, found.passes, strict=True), 1)
    ]
    rows += [(f"passes over {width}", "", str(count), "") for width, count in found.widths.items()]
    return Table(f"{mode}: passes", ("", "codes>", "passes>", "codes gained a pass>"), tuple(rows))


def main_table(report: Report) -> Table:
    """The figures that most people ask for, a column for each mode."""
    modes = [*report.modes.values()]
    rows = [
        ("codes or tokens a second", *(digits(m.tokens_per_second) for m in modes)),
        ("images a second", *(_images(m) for m in modes)),
        ("gained by a pass", *(passes(m) for m in modes)),
        ("first code or token", *(seconds(m.stages["first"].median) for m in modes)),
        ("start to first code or token", *(seconds(m.start.first) for m in modes)),
        ("outside the graphs, a step", *(_outside(m) for m in modes)),
        ("limit of memory reached", *(share(m.roofline.limits[TOTAL].share) for m in modes)),
        ("peak memory of the process", *(_bytes(m.memory.process) for m in modes)),
        ("peak memory of the device", *(_bytes(m.memory.device) for m in modes)),
        ("energy of a code or token", *(_joules(m, "token") for m in modes)),
        ("energy of a step", *(_joules(m, "step") for m in modes)),
        ("energy of an image", *(_joules(m, "image") for m in modes)),
    ]
    return Table(
        "", ("", *(f"{mode}>" for mode in report.modes)), tuple(r for r in rows if any(r[1:]))
    )


def _images(found: ModeReport) -> str:
    if found.images_per_second is None:
        return ""
    # computed from the medians of stages, unless whole pictures were painted
    return f"{'' if found.whole else '~'}{digits(found.images_per_second)}"


def _outside(found: ModeReport) -> str:
    return f"{seconds(found.step[OUTSIDE].median)}, {share(found.outside_share)}"


def _bytes(nbytes: int | None) -> str:
    return "" if nbytes is None else size(nbytes)


def _joules(found: ModeReport, what: str) -> str:
    """Total joules, then joules above the power at rest."""
    gross = getattr(found.gross, what, None) if found.gross else None
    if gross is None and what == "token":
        gross = found.joules_per_token  # a report of version 1
    if gross is None:
        return ""
    net = getattr(found.net, what, None) if found.net else None
    about = "~" if what == "image" and not found.whole else ""
    above = "" if net is None else f", {about}{joules(net)} above idle"
    return f"{about}{joules(gross)}{above}"


def energy_table(mode: str, found: Energy) -> Table:
    """Each sensor's energy and power; the total adds the sensors that are not part of another."""
    rows = [
        (
            part.name + ("" if part.counted else " (part of another)"),
            "unknown" if part.joules is None else joules(part.joules),
            _watts(None if part.joules is None else part.joules / found.seconds),
            _watts(part.idle_watts),
        )
        for part in found.parts
    ]
    total = "" if found.joules is None else joules(found.joules)
    rows.append(("total", total, _watts(found.watts), _watts(found.idle_watts)))
    title = f"{mode}: energy of {seconds(found.seconds)}"
    return Table(title, ("sensor", "energy>", "mean power>", "at rest>"), tuple(rows))


def device_table(mode: str, found: DeviceState) -> Table:
    """Clocks and temperatures during the measurement."""
    rows = tuple(
        (r.name, *(f"{digits(value)} {r.unit}" for value in (r.least, r.mean, r.most)))
        for r in found.readings
    )
    return Table(f"{mode}: the device", ("reading", "least>", "mean>", "most>"), rows)


def _watts(value: float | None) -> str:
    return "" if value is None else f"{digits(value)} W"


def sweep_table(found: Sweep) -> Table:
    """The points of a sweep."""
    rows = [
        (
            point(found.name, p),
            str(p.rows),
            str(p.prompt_tokens),
            str(p.capacity),
            seconds(p.prefill.median),
            seconds(p.step.median),
            seconds(p.step.p90),
            digits(p.tokens_per_second),
            *([digits(p.codes_per_step)] if found.name == "parallel" else []),
        )
        for p in found.points
    ]
    columns = ("value>", "rows>", "prompt>", "cache>", "prefill>", "step>", "p90>", "tokens/s>")
    more = ("codes gained a pass>",) if found.name == "parallel" else ()
    return Table(f"{found.mode}: {label(found.name)}", (*columns, *more), tuple(rows))


def comparison_tables(found: Comparison) -> Iterator[Table]:
    """A table for each mode."""
    for mode in dict.fromkeys(r.mode for r in found.ratios):
        rows = tuple(
            (
                label(r.what, mode),
                _value(r, r.first),
                _value(r, r.second),
                "" if r.ratio is None else f"{digits(r.ratio)}x",
            )
            for r in found.ratios
            if r.mode == mode
        )
        title = f"{mode}: medians; above 1x the second is better"
        yield Table(title, ("stage", "first>", "second>", "ratio>"), rows)


def _value(ratio: Ratio, value: float) -> str:
    if ratio.unit == "s":
        return seconds(value)
    if ratio.unit == "bytes":
        return size(value)
    return f"{digits(value)} {ratio.unit}"


def _figures(found: Distribution) -> tuple[str, ...]:
    shown = (found.median, found.p90, found.p99, found.minimum)
    return (*(seconds(v) for v in shown), str(found.count))
