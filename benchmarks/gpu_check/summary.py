"""The summary that the terminal shows at the end: at most thirty lines."""

from __future__ import annotations

from benchmarks.gpu_check.report import FAILED, INTERRUPTED, SKIPPED, Report
from benchmarks.gpu_check.table import SHORT, aligned, capacity_lines, model_lines, rows

MOST_LINES, _WIDTH = 30, 160


def summary(report: Report) -> list[str]:
    """Return the device, a row for each engine, what failed, and why targets are absent."""
    head = [report.warning] if report.warning else []
    head += [INTERRUPTED] if report.interrupted else []
    head.append(f"{report.gpu}; {report.seconds:.0f} s")
    head.append(", ".join(f"{count} {state}" for state, count in report.counts.items()))
    engines = rows(report.checks)
    body = aligned(SHORT, engines) if engines else []
    body += [*model_lines(report.checks), *capacity_lines(report.checks)]
    body += [str(c) for c in report.checks if c.state == FAILED]
    absent = {c.target: c.reason for c in report.checks if c.state == SKIPPED and not c.subject}
    body += [f"absent   {target or 'tests'}: {why}" for target, why in absent.items()]
    room = MOST_LINES - len(head)
    if len(body) > room:
        body = [*body[: room - 1], f"and {len(body) - room + 1} more lines in the report"]
    return [line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..." for line in head + body]
