"""The documents are true: commands parse, files and anchors exist, the graphs are listed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from janus_edge.cli import cli
from janus_edge.graphs import Graph

ROOT = Path(__file__).parents[2]
PAGES = (
    *("README.md", "DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md", "training/README.md"),
    *sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md")),
)
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.M | re.S)


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def prose(page: str) -> str:
    """Return the page without its code blocks and inline code."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", read(page)))


def code_lines(page: str) -> list[str]:
    """Return the lines of the page's code blocks, without prompts; continued lines are joined."""
    blocks = (block.replace("\\\n", " ") for _, block in _FENCE.findall(read(page)))
    return [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]


def commands() -> list[tuple[str, str]]:
    """Return every page's `janus-edge ...` lines."""
    return [
        (page, line)
        for page in PAGES
        for line in code_lines(page)
        if line.startswith("janus-edge ")
    ]


def anchors(page: str) -> set[str]:
    """Return the anchors of the page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", read(page)), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ["README.md", "docs/usage.md", "docs/engines.md", "docs/demo.md"])
def test_a_page_shows_commands(page: str) -> None:
    assert page in {name for name, _ in commands()}


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_parses(page: str, line: str) -> None:
    """Its command, options and number of arguments are those of the program."""
    name, *args = shlex.split(line, comments=True)[1:]
    command = cli.commands[name]
    # commands keep the help option of the first context that they see: it must be the real one
    program = click.Context(cli, info_name="janus-edge", **cli.context_settings)
    context = click.Context(command, parent=program, info_name=name)
    command.parse_args(context, args)


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    """Every link and picture leads to a repository file, and every anchor to a heading."""
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        if not path.exists() or not path.resolve().is_relative_to(ROOT):
            wrong.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(path.resolve().relative_to(ROOT).as_posix()):
            wrong.append(f"{link}: no such heading")
    assert not wrong


@pytest.mark.parametrize("page", PAGES)
def test_programs(page: str) -> None:
    """Every script, module and make target in the code blocks exists."""
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    wrong = []
    for line in code_lines(page):
        words = line.split()
        if words[:1] == ["make"]:
            wrong += [] if words[1] in targets else [line]
        script = re.match(r"python (?:-m ([a-z_.]+)|(\S+\.py))", line)
        if script is None or (script[1] or "janus_edge").split(".")[0] not in (
            "benchmarks", "janus_edge", "training",
        ):  # fmt: skip
            continue
        path = ROOT / (script[2] or script[1].replace(".", "/"))
        wrong += [] if path.exists() or path.with_suffix(".py").exists() else [line]
    assert not wrong


def test_every_page_is_on_the_map() -> None:
    """docs/index.md links to each page of its folder."""
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", read("docs/index.md")))
    assert linked == {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")} - {
        "index.md"
    }


def test_every_graph_is_listed() -> None:
    for graph in Graph:
        assert f"`{graph.value}`" in read("docs/graphs.md")


def test_the_readme_says_what_has_run() -> None:
    """While nothing has run on a GPU, the README says so."""
    assert "**Nothing has run on a GPU yet.**" in read("README.md")


@pytest.mark.parametrize("page", ["README.md", "docs/usage.md"])
def test_examples_in_python_are_python(page: str) -> None:
    examples = [block for kind, block in _FENCE.findall(read(page)) if kind == "python"]
    assert examples
    for example in examples:
        compile(example, page, "exec")
