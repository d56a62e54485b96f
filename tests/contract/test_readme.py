"""The documents say what is true: commands exist, links lead somewhere, the graphs are listed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from janus_edge.cli import cli
from janus_edge.graphs import Graph

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "DESIGN.md", "CONTRIBUTING.md")


def commands() -> list[str]:
    """Every `janus-edge ...` line of the README's code blocks."""
    blocks = re.findall(
        r"^```[^\n]*\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S
    )
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("janus-edge ")]


def test_the_readme_is_filled_in() -> None:
    assert "@@" not in (ROOT / "README.md").read_text("utf-8")


def test_the_readme_shows_commands() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_readme_parses(line: str) -> None:
    """Its command, options and number of arguments are those of the program."""
    name, *args = shlex.split(line, comments=True)[1:]
    command = cli.commands[name]
    # commands keep the help option of the first context that they see: it must be the real one
    program = click.Context(cli, info_name="janus-edge", **cli.context_settings)
    context = click.Context(command, parent=program, info_name=name)
    command.parse_args(context, args)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith(("http://", "https://")):
            assert (ROOT / target).exists(), f"{document} links to {target}"


def test_the_readme_lists_every_graph() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for graph in Graph:
        assert f"`{graph.value}`" in text


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert {"demo", "test"} <= targets


def test_examples_in_python_are_python() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert examples
    for example in examples:
        compile(example, "README.md", "exec")
