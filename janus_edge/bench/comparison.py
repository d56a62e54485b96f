"""Two reports side by side: how many times as fast the second is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from janus_edge.bench.distribution import Distribution
from janus_edge.bench.report import ModeReport, Report


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median seconds of a stage, or bytes, in both reports; ``ratio`` above 1: the second is better."""

    mode: str
    what: str
    unit: str
    first: float
    second: float
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ratios of what both reports have, and what makes them hard to compare."""

    ratios: tuple[Ratio, ...]
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]


def compare(first: Report, second: Report) -> Comparison:
    """Compare stages, parts of a step, throughput and memory of the modes that both have."""
    ratios: list[Ratio] = []
    left_out: list[str] = []
    for mode in dict.fromkeys((*first.modes, *second.modes)):
        if mode not in first.modes or mode not in second.modes:
            left_out.append(mode)
            continue
        a, b = dict(_values(first.modes[mode])), dict(_values(second.modes[mode]))
        for key in dict.fromkeys((*a, *b)):
            if key in a and key in b:
                what, unit = key
                # tokens are the better the more there are, all else the less
                better = _ratio(b[key], a[key]) if "/s" in unit else _ratio(a[key], b[key])
                ratios.append(Ratio(mode, what, unit, a[key], b[key], better))
            else:
                left_out.append(f"{mode} {key[0]}")
    return Comparison(tuple(ratios), tuple(_warnings(first, second)), tuple(left_out))


def _values(mode: ModeReport) -> Iterator[tuple[tuple[str, str], float]]:
    for group in (mode.stages, mode.step):
        for name, found in group.items():
            yield (name, "s"), _median(found)
    yield ("start to first", "s"), mode.start.first
    yield ("tokens", "tokens/s"), mode.tokens_per_second
    if mode.images_per_second is not None:
        yield ("images", "images/s"), mode.images_per_second
    for name, nbytes in (
        ("peak of process", mode.memory.process),
        ("peak of device", mode.memory.device),
    ):
        if nbytes is not None:
            yield (name, "bytes"), nbytes
    if mode.joules_per_token is not None:
        yield ("energy of a token", "J"), mode.joules_per_token


def _median(found: Distribution) -> float:
    return found.median


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


def _warnings(first: Report, second: Report) -> Iterator[str]:
    if first.machine != second.machine:
        a, b = first.machine, second.machine
        names = [n for n in a.__dataclass_fields__ if getattr(a, n) != getattr(b, n)]
        told = ", ".join(f"{n} {getattr(a, n)} and {getattr(b, n)}" for n in names)
        yield f"the machines differ: {told}"
    a_digest, b_digest = first.subject.digest, second.subject.digest
    if a_digest != b_digest:
        yield (
            f"the bundles differ: {_subject(first)} {a_digest[:12]} and {_subject(second)} "
            f"{b_digest[:12]}"
        )
    for name in dict.fromkeys((*first.versions, *second.versions)):
        one, two = first.versions.get(name, "absent"), second.versions.get(name, "absent")
        if one != two:
            yield f"the versions of {name} differ: {one} and {two}"
    for mode in first.modes:
        if mode in second.modes:
            yield from _other_work(mode, first.modes[mode], second.modes[mode])
    if first.options.parallel != second.options.parallel:
        yield (
            f"the codes of a pass differ: {first.options.parallel} and {second.options.parallel} "
            "(--parallel)"
        )
    if first.options.threads != second.options.threads:
        yield f"the threads differ: {first.options.threads} and {second.options.threads}"


def _other_work(mode: str, first: ModeReport, second: ModeReport) -> Iterator[str]:
    for name in ("prompt_tokens", "rows", "pictures", "steps", "capacity"):
        one, two = getattr(first, name), getattr(second, name)
        if one != two:
            yield f"the {mode} requests differ: {name} {one} and {two}"


def _subject(report: Report) -> str:
    subject = report.subject
    return f"{subject.name} ({subject.precision}{', ' + subject.target if subject.target else ''})"
