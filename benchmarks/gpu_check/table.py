"""One row for each engine with what its checks found, for the report and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.gpu_check.checks import BUILD, PAINTING, STEP
from benchmarks.gpu_check.engine_commands import ATTENTION, CAPACITY
from benchmarks.gpu_check.random_checks import DECODE, LANGUAGE_MODEL
from benchmarks.gpu_check.report import FAILED, PASSED, Check

COLUMNS = (
    "target", "bundle", "build s", "verdict", "equal", "differs at", "margin", "top two", "cosine",
    "KL", "step ms", "uncaptured", "MB a step", "limit ms", "of limit", "attention", "GPU MiB",
)  # fmt: skip

#: Columns for the terminal, which has less room.
SHORT = (
    "target", "bundle", "verdict", "equal", "differs at", "step ms", "uncaptured", "of limit",
    "attention",
)  # fmt: skip

_NONE = ""


def rows(checks: Sequence[Check]) -> list[dict[str, str]]:
    """Return a row with the names of COLUMNS for every engine that was tried."""
    engines = dict.fromkeys((c.target, c.subject) for c in checks if c.name == BUILD and c.subject)
    found = []
    for target, subject in engines:
        own = {c.name: c for c in checks if (c.target, c.subject) == (target, subject)}
        row = {"target": target, "bundle": subject.removeprefix("miniature-")}
        row |= _build(own[BUILD])
        for name, cells in ((PAINTING, _painting), (STEP, _step), (ATTENTION, _attention)):
            check = own.get(name)
            if check and check.figures:
                row |= cells(check.figures)
            elif check and check.state == FAILED:
                row[{PAINTING: "verdict", STEP: "step ms", ATTENTION: "attention"}[name]] = FAILED
        found.append({name: row.get(name, _NONE) for name in COLUMNS})
    return found


def model_lines(checks: Sequence[Check]) -> list[str]:
    """Return a sentence for each engine whose language model and VQ decoder were timed alone."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for check in checks:
        if check.name in (LANGUAGE_MODEL, DECODE) and check.state == PASSED:
            found.setdefault((check.target, check.subject), {}).update(check.figures)
    return [_model(*key, figures) for key, figures in found.items()]


def _model(target: str, subject: str, found: dict[str, Any]) -> str:
    words = []
    if "step_s" in found:
        words.append(
            f"language model {found['step_s'] * 1e3:.3f} ms at position {found['position']}, prefill of "
            f"{found['prefill_tokens']} tokens {found['prefill_s'] * 1e3:.1f} ms"
        )
    if "decode_s" in found:
        words.append(f"VQ decode {found['decode_s'] * 1e3:.1f} ms")
    return f"{target} {subject}: {', '.join(words)}"


def capacity_lines(checks: Sequence[Check]) -> list[str]:
    """Return a sentence for each target whose step was timed at two capacities."""
    return [_capacity(c) for c in checks if c.name == CAPACITY and c.state == PASSED]


def _build(check: Check) -> dict[str, str]:
    if check.state != PASSED:
        return {"build s": check.state}
    return {"build s": f"{check.figures['build_seconds']:.1f}"}


def _painting(found: dict[str, Any]) -> dict[str, str]:
    each = found["each"]
    differing = [one for one in each if one["first_difference"] is not None]
    worst = min(each, key=lambda one: min(one["first_cosine"], one["worst_cosine"]))
    row = {
        "verdict": found["verdict"],
        "equal": f"{found['equal_pictures']} of {found['pictures']}",
        "cosine": f"{worst['first_cosine']:.4f}, {worst['worst_cosine']:.4f}",
        "KL": f"{max(one['kl_mean'] for one in each):.2g}",
    }
    if differing:
        row["differs at"] = ", ".join(str(one["first_difference"]) for one in differing)
        for name, key in (("margin", "margin"), ("top two", "top_two")):
            row[name] = ", ".join("" if o[key] is None else f"{o[key]:.3g}" for o in differing)
    return row


def _step(found: dict[str, Any]) -> dict[str, str]:
    device = found["device_bytes"]
    return {
        "step ms": f"{found['step_s'] * 1e3:.3f}",
        "uncaptured": f"{found['uncaptured']['step_s'] * 1e3:.3f}",
        "MB a step": f"{found['bytes_per_step'] / 1e6:.1f}",
        "limit ms": f"{found['limit_s'] * 1e3:.4f}",
        "of limit": f"{found['share_of_limit']:.0%}",
        "GPU MiB": _NONE if device is None else f"{device / 2**20:.0f}",
    }


def _attention(found: dict[str, Any]) -> dict[str, str]:
    built, inspected = (str(found[name]).split(":")[0] for name in ("recorded", "inspector"))
    return {"attention": built if built == inspected else f"{built}, inspector: {inspected}"}


def _capacity(check: Check) -> str:
    f = check.figures
    by = {True: "costs by capacity", False: "does not cost by capacity"}
    word = by.get(f["costs_by_capacity"], "no step to compare with")
    whole = f["reading_all_of_it_s"]
    all_of_it = "" if whole is None else f"; reading all of it takes {whole * 1e6:.1f}"
    return (
        f"{check.target} {check.subject}: attention {word}: {f['large']} against {f['small']} positions, "
        f"{f['ratio']:.2f} times, {f['extra_s'] * 1e6:+.1f} us a step{all_of_it} ({f['method']})"
    )


def markdown(columns: Sequence[str], lines: Sequence[dict[str, str]]) -> list[str]:
    """Return the rows as a markdown table."""
    made = [f"| {' | '.join(columns)} |", f"|{'|'.join(['---'] * len(columns))}|"]
    return made + [f"| {' | '.join(line[name] for name in columns)} |" for line in lines]


def aligned(columns: Sequence[str], lines: Sequence[dict[str, str]]) -> list[str]:
    """Return the rows as text in columns of equal width."""
    cells = [list(columns), *([line[name] for name in columns] for line in lines)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
