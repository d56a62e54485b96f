"""docs/jetson.md: its commands parse, its files exist, its facts have sources."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from janus_edge.cli import cli

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "jetson.md").read_text("utf-8")


#: What a user's own run writes.
WRITTEN = "benchmarks/results/gpu-check-DEVICE.json"


def commands() -> list[str]:
    """Every `janus-edge ...` line of its code blocks."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", TEXT, re.M | re.S)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("janus-edge ")]


@pytest.mark.parametrize("line", commands())
def test_a_command_parses(line: str) -> None:
    """Its command, options and number of arguments are those of the program."""
    name, *args = shlex.split(line, comments=True)[1:]
    program = click.Context(cli, info_name="janus-edge", **cli.context_settings)
    command = cli.commands[name]
    command.parse_args(click.Context(command, parent=program, info_name=name), args)


def test_there_are_commands() -> None:
    names = {line.split()[1] for line in commands()}
    assert names >= {"export", "info", "verify", "build", "generate", "bench", "doctor"}


def test_it_says_what_has_run() -> None:
    """The first thing that it says."""
    assert TEXT.split("\n\n")[1].startswith("**Nothing here has run on a Jetson")


def test_sources() -> None:
    """Every number in brackets is a source, and every source is cited."""
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
    """Files of the repository that it names exist."""
    assert (ROOT / path).exists()


def test_sections() -> None:
    """Links within the page lead to headings."""
    headings = {
        re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-")
        for h in re.findall(r"^##+ (.+)$", TEXT, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings
