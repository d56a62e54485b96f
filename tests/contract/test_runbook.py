"""In docs/jetson.md, files exist and facts have sources (`test_readme.py` parses its commands)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "jetson.md").read_text("utf-8")


#: Files that a user's own run writes.
WRITTEN = "benchmarks/results/gpu-check-DEVICE.json"


def commands() -> list[str]:
    """Return every `janus-edge ...` line of its code blocks."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", TEXT, re.M | re.S)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("janus-edge ")]


def test_there_are_commands() -> None:
    names = {line.split()[1] for line in commands()}
    assert names >= {"export", "info", "verify", "build", "generate", "bench", "doctor"}


def test_it_says_what_has_run() -> None:
    """The runbook begins by saying that nothing in it has run on a Jetson."""
    assert TEXT.split("\n\n")[1].startswith("**Nothing here has run on a Jetson")


def test_sources() -> None:
    """Every number in brackets has a source, and every source is cited."""
    body, _, listed = TEXT.partition("## Sources")
    numbers = {int(n) for n in re.findall(r"^(\d+)\. ", listed, re.M)}
    cited = {
        int(n) for found in re.findall(r"\[(\d+(?:, \d+)*)\]", body) for n in found.split(", ")
    }
    assert cited == numbers == set(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    "path",
    sorted(
        set(re.findall(r"(?:docker|benchmarks|janus_edge)/[\w/.-]+\.(?:py|l4t|json)\b", TEXT))
        - {WRITTEN}
    ),
)
def test_files(path: str) -> None:
    """Every repository file that it names exists."""
    assert (ROOT / path).exists()
