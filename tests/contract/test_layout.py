"""The shape of the repository: links, sizes, what is shipped."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

import janus_edge

PACKAGE = Path(janus_edge.__file__).parent
ROOT = PACKAGE.parent

#: "60 to 200 lines, look again at 300" (STYLE).
MOST_LINES = 300


@pytest.mark.parametrize("stage", ["export", "runtime", "engines", "calib"])
def test_stage(stage: str) -> None:
    """A stage is a package that says what it is for, and has a relative link at the root.

    A checkout without symbolic links has a plain file there that holds the link's target.
    """
    docstring = (PACKAGE / stage / "__init__.py").read_text("utf-8")
    assert docstring.startswith('"""')
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: a source distribution has no links")
    link = ROOT / stage
    target = link.readlink().as_posix() if link.is_symlink() else link.read_text("utf-8").strip()
    assert target == f"janus_edge/{stage}"


def test_size_of_files() -> None:
    """One noun per file: none is longer than is easily read."""
    sizes = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert len(sizes) > 50
    assert {name: n for name, n in sizes.items() if n > MOST_LINES} == {}


@pytest.mark.parametrize("name", ["utils", "helpers", "manager", "common", "misc"])
def test_names_of_files(name: str) -> None:
    """A file's name says what is in it."""
    assert not [p for p in PACKAGE.rglob("*.py") if name in p.stem.split("_")]


@pytest.mark.parametrize("name", ["py.typed", "assets/astronaut.jpg"])
def test_shipped_with_the_package(name: str) -> None:
    """The marker of type information and the photograph lie inside the package."""
    assert resources.files("janus_edge").joinpath(name).is_file()
